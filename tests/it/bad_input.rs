//! Bad input: what each one meets, and the test that shows it.
//!
//! Each of these asserts a message that says what to do, that no money moved, and
//! that the next good request is served. Tests that fit elsewhere live there.
//!
//! | bad input | test |
//! |---|---|
//! | unknown config key | `bad_input::files::an_unknown_key_stops_every_command_until_it_is_mended`, `config::tests` |
//! | unreadable file | `bad_input::files::a_file_that_cannot_be_read_is_named` |
//! | occupied port | `bad_input::files::an_occupied_port_stops_the_node_until_it_is_free`, `config` |
//! | relay that speaks nonsense, 100 MB frames | `relay::hostile` |
//! | event with a wrong id or signature | `relay::hostile`, `bad_input::listings::forged_events_are_refused_by_name` |
//! | listing with absurd prices | `bad_input::listings::an_absurd_price_is_no_price`, in every dialect `bad_input::dialects::an_absurd_price_of_any_dialect_is_named_and_never_counts` |
//! | 402 without a usable challenge | `spend::hostile::a_402_that_cannot_be_used_is_refused_with_its_reason` |
//! | invoice without amount, over the cap, expired, of another payment | the same |
//! | endless body, headers without end, redirect | `spend::hostile::what_an_answer_may_hold_is_bounded`, `…::a_redirect_is_an_answer` |
//! | token of a foreign mint, spent token, token that is none | `gateway::refused`, `wallet` |
//! | garbage in every header | `gateway::refused`, `bad_input::garbage_http` |
//! | garbage at every route and in every frame | `bad_input::garbage_http`, `bad_input::garbage_relay` |
//! | payments that are nearly right, by the thousand | the soak `malformed_storm` |
//!
//! The attacks on an open index, as far as parts that exist are concerned:
//!
//! | attack | test |
//! |---|---|
//! | flood of listings | `market::tests::dialects::one_quota_counts_the_listings_of_all_dialects` (unit), `market::tests` |
//! | giant and deep events | `market::tests::what_is_too_much_is_refused`, `market::tests::dialects::depth_counts_in_json_and_not_in_prose` (unit), `bad_input::garbage_relay` |
//! | a hundred and more capabilities, tags, prices in one event | `protocol::dialect::tests` (unit) |
//! | another key claims the same URL | `bad_input::listings::nobody_displaces_the_listing_of_another_key`, `bad_input::dialects::who_claims_an_address_or_an_interface_is_shown_beside_its_owner` |
//! | a tool claims an interface that is not its own | the same, and `protocol::dialect::tests::examples` (unit) |
//! | a tool becomes another under its old name | `bad_input::dialects::a_tool_that_becomes_another_under_its_name_is_shown_as_changed`, `store::index::tests` |
//! | price bait: the 402 asks more than the listing | `spend::hostile::a_402_above_the_signed_listing_is_refused` |
//! | replay of an old version | `bad_input::listings::an_old_version_does_not_come_back`, `store::index::tests` |
//! | `created_at` in the future | `bad_input::listings::forged_events_are_refused_by_name`, `market::tests::what_is_too_much_is_refused` (unit) |
//! | hostile relay | `relay::hostile` |
//! | SSRF by URLs, images, mints and relay hints in listings | `bad_input::listings::nothing_that_a_listing_names_is_called` |
//! | SSRF by inbox and reply relays of strangers | `relay::strangers`, `transfer::strangers` |
//! | malicious mint in a `mint` tag | `bad_input::listings::nothing_that_a_listing_names_is_called`, `gateway::refused` |
//! | stored XSS, Markdown, shell text, hidden characters, sentences for a model | `bad_input::listings::foreign_text_is_only_ever_text`, `bad_input::dialects::text_of_every_dialect_is_only_ever_text` |
//! | poisoned tokens by message | `transfer::ecash_that_cannot_be_ours_is_left_alone` |
//! | an index file that was tampered with | `store::index::tests::audit` (unit), `cli::an_index_is_verified_and_made_right_again` |
//!
//! There is no quota per host: anybody can sign listings for any host, so it would
//! let strangers keep a seller out.
//!
//! Not yet, because the part is not there: confusable names and domain proofs,
//! probes for decoys, reviews.

mod dialects;
mod files;
mod garbage_http;
mod garbage_relay;
mod listings;
#[path = "../soak/malformed_storm.rs"]
mod malformed_storm;
mod node;

pub(crate) use node::Trap;

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_malformed_payments_changes_nothing() {
    malformed_storm::storm(7, 300).await;
}
