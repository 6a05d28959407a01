//! The event kinds the marketplace speaks.

/// Profile (NIP-01).
pub const PROFILE: u16 = 0;
/// Deletion request (NIP-09).
pub const DELETION: u16 = 5;
/// Gift wrap (NIP-59).
pub const GIFT_WRAP: u16 = 1_059;
/// Comment (NIP-22).
pub const COMMENT: u16 = 1_111;
/// Relay list (NIP-65).
pub const RELAY_LIST: u16 = 10_002;
/// Nutzap information: mints and the P2PK key (NIP-61).
pub const NUTZAP_INFO: u16 = 10_019;
/// Relays for private messages (NIP-17).
pub const INBOX_RELAYS: u16 = 10_050;
/// ContextVM server announcement.
pub const MCP_SERVER: u16 = 11_316;
/// ContextVM tools of a server.
pub const MCP_TOOLS: u16 = 11_317;
/// Product of a stall (NIP-15).
pub const PRODUCT: u16 = 30_018;
/// Classified listing (NIP-99).
pub const CLASSIFIED: u16 = 30_402;
/// DVMCP server announcement.
pub const DVMCP_SERVER: u16 = 31_316;
/// DVMCP tools of a server.
pub const DVMCP_TOOLS: u16 = 31_317;
/// Paid API service; the canonical record of a listing.
pub const PAID_SERVICE: u16 = 31_402;
/// Product review (QTS, Gamma).
pub const REVIEW: u16 = 31_555;
/// What a wallet behind Nostr Wallet Connect can do (NIP-47).
pub const WALLET_INFO: u16 = 13_194;
/// Handler information (NIP-89).
pub const HANDLER: u16 = 31_990;
/// Capability of an agent (NIP-A5).
pub const AGENT_CAPABILITY: u16 = 38_400;
/// Inference provider (Routstr RIP-02).
pub const INFERENCE_PROVIDER: u16 = 38_421;
/// Service of an agent (agent-discovery).
pub const AGENT_SERVICE: u16 = 38_990;

/// Kinds that hold listings; they count against the quota of their author.
pub const LISTINGS: &[u16] = &[
    MCP_SERVER,
    MCP_TOOLS,
    PRODUCT,
    CLASSIFIED,
    DVMCP_SERVER,
    DVMCP_TOOLS,
    PAID_SERVICE,
    HANDLER,
    AGENT_CAPABILITY,
    INFERENCE_PROVIDER,
    AGENT_SERVICE,
];

/// Listings whose content is text for people; brackets in it mean nothing.
pub const WITH_PROSE: &[u16] = &[CLASSIFIED, AGENT_CAPABILITY, AGENT_SERVICE];

/// Kinds a node asks relays for and keeps: all of [`LISTINGS`], and what is said about sellers and listings.
pub const SUBSCRIBED: &[u16] = &[
    PROFILE,
    DELETION,
    COMMENT,
    RELAY_LIST,
    NUTZAP_INFO,
    INBOX_RELAYS,
    MCP_SERVER,
    MCP_TOOLS,
    PRODUCT,
    CLASSIFIED,
    DVMCP_SERVER,
    DVMCP_TOOLS,
    PAID_SERVICE,
    REVIEW,
    HANDLER,
    AGENT_CAPABILITY,
    INFERENCE_PROVIDER,
    AGENT_SERVICE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listing_is_asked_for() {
        for kind in LISTINGS {
            assert!(SUBSCRIBED.contains(kind), "{kind}");
        }
        for kind in WITH_PROSE {
            assert!(LISTINGS.contains(kind), "{kind}");
        }
    }
}
