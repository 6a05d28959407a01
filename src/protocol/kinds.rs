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
/// Classified listing (NIP-99).
pub const CLASSIFIED: u16 = 30_402;
/// Paid API service; the canonical record of a listing.
pub const PAID_SERVICE: u16 = 31_402;
/// Product review (QTS, Gamma).
pub const REVIEW: u16 = 31_555;
/// What a wallet behind Nostr Wallet Connect can do (NIP-47).
pub const WALLET_INFO: u16 = 13_194;
/// Handler information (NIP-89).
pub const HANDLER: u16 = 31_990;

/// Kinds that hold listings; they count against the quota of their author.
pub const LISTINGS: &[u16] = &[CLASSIFIED, PAID_SERVICE];

/// Kinds a node asks relays for and keeps.
pub const SUBSCRIBED: &[u16] = &[
    PROFILE,
    DELETION,
    COMMENT,
    RELAY_LIST,
    NUTZAP_INFO,
    INBOX_RELAYS,
    MCP_SERVER,
    MCP_TOOLS,
    CLASSIFIED,
    PAID_SERVICE,
    REVIEW,
    HANDLER,
];
