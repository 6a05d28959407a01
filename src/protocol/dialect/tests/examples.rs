//! Events as real publishers write them, one table a dialect: what is read, and why not.
//!
//! The shapes are those of the specifications and of the publishers' own code.

use super::*;

/// One line per offer: address, name, capability, topics, what became of the price
/// and where it stood, how it is called and paid.
#[track_caller]
fn check(json: &str, expected: &[&str]) {
    let pubkey = keys().public_key().to_hex();
    let found: Vec<String> = read(&signed(json))
        .into_iter()
        .map(|offer| {
            let note = offer.price.note().map(|note| format!("; {note}"));
            let fiat = offer.price.fiat.map(|fiat| format!("; {fiat}"));
            let price = match offer.price.msat {
                Ok(price) => price.to_string(),
                Err(_) => format!("“{}”", offer.price.text),
            };
            format!(
                "{}{} | {} | {} | {} | {price} [{}{}{}] | {} {} {}",
                if offer.is_projection { "~" } else { "" },
                offer.coordinate.replace(&pubkey, "me"),
                offer.name,
                offer.capability,
                offer.topics.join(","),
                offer.price.source,
                note.unwrap_or_default(),
                fiat.unwrap_or_default(),
                offer.method,
                offer.endpoint.unwrap_or_default(),
                offer.rails.join(","),
            )
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn paid_services() {
    // 402-announce and aperture-announce: unit words differ, dollars are cents.
    check(
        r#"{"kind":31402,"tags":[["d","jokes"],["name","Jokes"],["url","https://j.example"],["about","Bad ones"],
        ["pmi","bitcoin-lightning-bolt11"],["pmi","x402","base","usdc"],["price","joke","5","sats"],["price","pun","3","usd"],
        ["price","opus","400","SAT"],["unit","opus","minute","1"],["price","set","9","sat"],["unit","set","request","10"]],
        "content":"{\"capabilities\":[{\"name\":\"dynamic\",\"pricing\":\"dynamic\",\"endpoint\":\"/d\"}]}"}"#,
        &[
            "31402:me:jokes | Jokes | joke |  | 5 sat [price tag] | GET https://j.example/ l402,x402",
            "31402:me:jokes | Jokes | pun |  | “3 usd” [price tag; the price is not in bitcoin; 0.03 USD] | GET https://j.example/ l402,x402",
            "31402:me:jokes | Jokes | opus |  | “400 SAT per minute” [price tag; the price is not for one call] | GET https://j.example/ l402,x402",
            "31402:me:jokes | Jokes | set |  | “9 sat per 10 request” [price tag; the price is not for one call] | GET https://j.example/ l402,x402",
            "31402:me:jokes | Jokes | dynamic |  | “” [] | GET https://j.example/d l402,x402",
        ],
    );
    // Ours: the exact price beside the rounded one, and both when they disagree.
    check(
        r#"{"kind":31402,"tags":[["d","x"],["url","https://a.example"],["pmi","l402"],
        ["price","a","21","sat"],["msat","a","20500"],["price","b","21","sat"],["msat","b","1000"],["price","c","x","sat"],["msat","c","7"]],"content":""}"#,
        &[
            "31402:me:x | x | a |  | 20500 msat [msat tag] | GET https://a.example/ l402",
            "31402:me:x | x | b |  | 21 sat [price tag; its msat tag says 1000 msat] | GET https://a.example/ l402",
            "31402:me:x | x | c |  | 7 msat [msat tag; its price tag says x sat] | GET https://a.example/ l402",
        ],
    );
}

#[test]
fn classifieds() {
    check(
        r#"{"kind":30402,"content":"Lorem","tags":[["d","lorem-ipsum"],["title","Lorem Ipsum"],["published_at","1296962229"],
        ["t","electronics"],["summary","More"],["location","NYC"],["price","100","USD"]]}"#,
        &[
            "30402:me:lorem-ipsum | Lorem Ipsum | lorem-ipsum | electronics | “100 USD” [price tag; the price is not in bitcoin; 100 USD] |   ",
        ],
    );
    // A subscription, and a shop that names its price in two currencies.
    check(
        r#"{"kind":30402,"content":"","tags":[["d","vpn"],["title","VPN"],["price","5000","sats","month"]]}"#,
        &[
            "30402:me:vpn | VPN | vpn |  | “5000 sats per month” [price tag; the price is not for one call] |   ",
        ],
    );
    check(
        r#"{"kind":30402,"content":"","tags":[["d","mug"],["title","Mug"],["price","12","EUR"],["price","0.0002","BTC"]]}"#,
        &["30402:me:mug | Mug | mug |  | 20000 sat [price tag; also says 12 EUR] |   "],
    );
    // 402index: JSON content, no title.
    check(
        r#"{"kind":30402,"content":"{\"name\":\"x\"}","tags":[["d","https://a.example/x"],["L","402index"],["r","https://a.example/x"],["price","10","sats"]]}"#,
        &[],
    );
    let own = keys().public_key().to_hex();
    let json = r#"{"kind":30402,"content":"","tags":[["d","x"],["title","T"],["price","1","SAT","request"],["a","31402:OWN:y","wss://r"],["spec","rails","l402, nut24"],["spec","method","post"],["r","https://a.example/y"]]}"#;
    check(
        &json.replace("OWN", &own),
        &["~31402:me:y | T | x |  | 1 sat [price tag] | POST https://a.example/y l402,nut24"],
    );
}

#[test]
fn job_handlers() {
    // As nostrdvm publishes them.
    check(
        r#"{"kind":31990,"content":"{\"name\":\"Flat Style\",\"image\":\"https://i.example/x.jpg\",\"about\":\"I make images in flat style\",\"encryptionSupported\":true,\"cashuAccepted\":true,\"nip90Params\":{\"negative_prompt\":{\"required\":false,\"values\":[]}}}",
        "tags":[["k","5100"],["d","87416eba5e31cfd6"]]}"#,
        &["31990:me:87416eba5e31cfd6 | Flat Style | job 5100 |  | “” [] |   cashu"],
    );
    check(
        r#"{"kind":31990,"content":"{\"name\":\"Trending\",\"about\":\"I show trending notes\",\"amount\":\"Free\",\"nip90Params\":{}}",
        "tags":[["k","5300"],["k","5050"],["k","5300"],["k","6300"],["d","t"],["t","feeds"]]}"#,
        &[
            "31990:me:t | Trending | job 5050 | feeds | 0 sat [content amount] |   ",
            "31990:me:t | Trending | job 5300 | feeds | 0 sat [content amount] |   ",
        ],
    );
    check(
        r#"{"kind":31990,"content":"{\"name\":\"N\",\"amount\":100}","tags":[["k","5000"],["d","n"]]}"#,
        &[
            "31990:me:n | N | job 5000 |  | “100” [content amount; the price is not in bitcoin] |   ",
        ],
    );
    // Without metadata the tags name it; an app that opens listings sells nothing.
    check(
        r#"{"kind":31990,"content":"","tags":[["k","5001"],["d","abc"]]}"#,
        &["31990:me:abc | abc | job 5001 |  | “” [] |   "],
    );
    let app = r#"{"kind":31990,"content":"{\"name\":\"Shop\"}","tags":[["d","feria"],["k","30402"],["k","31402"],["web","https://n/l/<bech32>","naddr"]]}"#;
    check(app, &[]);
}

#[test]
fn mcp_servers() {
    check(
        r#"{"kind":11316,"content":"{\"protocolVersion\":\"2025-07-02\",\"capabilities\":{\"tools\":{\"listChanged\":true}},\"serverInfo\":{\"name\":\"ExampleServer\",\"version\":\"1.0.0\"},\"instructions\":\"Ask for weather\"}",
        "tags":[["support_encryption"],["pmi","bitcoin-lightning-bolt11"],["t","weather"]]}"#,
        &["11316:me: | ExampleServer | mcp server | weather | “” [] |   lightning"],
    );
    // An announcement that prices its tools itself, and carries a `d` tag that its kind has no use for.
    check(
        r#"{"kind":11316,"content":"","tags":[["d","nosms"],["t","sms"],["cap","tool:sms.send","2900","sats"],
        ["pmi","bitcoin-cashu","explicit_gating"],["name","nosms"],["about","Sends texts"],["website","https://n.example"]]}"#,
        &[
            "11316:me: | nosms | mcp server | sms | “” [] |   cashu",
            "~11316:me: | nosms | sms.send | sms | 2900 sat [cap tag] |   cashu",
        ],
    );
    check(r#"{"kind":11316,"content":"{}","tags":[]}"#, &[]);
    check(
        r#"{"kind":31316,"content":"{\"serverInfo\":{\"name\":\"S\"}}","tags":[["d","server-123"],["k","25910"],["name","Example Server"],["about","A server"]]}"#,
        &["31316:me:server-123 | Example Server | mcp server |  | “” [] |   "],
    );
}

#[test]
fn mcp_tools() {
    check(
        r#"{"kind":11317,"content":"{\"tools\":[{\"name\":\"get_weather\",\"description\":\"Current weather\",\"inputSchema\":{\"type\":\"object\"}},{\"name\":\"maps\",\"title\":\"Maps of anywhere\"},{\"name\":\"\"},{\"name\":7},3]}",
        "tags":[["cap","tool:get_weather","100","sats"],["cap","tool:maps","21-21000","sats"],["cap","prompt:poem","5","usd"],["t","weather-forecast"],["pmi","bitcoin-lightning-bolt11"]]}"#,
        &[
            "11316:me: | get_weather | get_weather | weather-forecast | 100 sat [cap tag] |   lightning",
            "11316:me: | Maps of anywhere | maps | weather-forecast | 21000 sat [cap tag; a range that begins at 21 sats] |   lightning",
            "11316:me: | prompt:poem | prompt:poem | weather-forecast | “5 usd” [cap tag; the price is not in bitcoin; 5 USD] |   lightning",
        ],
    );
    // DVMCP: the tool's name stands plainly, and a tool without a price has a `cap` tag too.
    check(
        r#"{"kind":31317,"content":"{\"tools\":[{\"name\":\"get_weather\",\"description\":\"d\"},{\"name\":\"free_one\"}]}",
        "tags":[["d","server-123/tools/list"],["s","server-123"],["cap","get_weather","100","sats"],["cap","free_one"]]}"#,
        &[
            "31316:me:server-123 | get_weather | get_weather |  | 100 sat [cap tag] |   ",
            "31316:me:server-123 | free_one | free_one |  | “” [] |   ",
        ],
    );
    check(
        r#"{"kind":31317,"content":"[]","tags":[["d","alone"],["cap","x","1","sats"]]}"#,
        &["31317:me:alone | x | x |  | 1 sat [cap tag] |   "],
    );
    check(
        r#"{"kind":11317,"content":"{\"tools\":[]}","tags":[]}"#,
        &[],
    );
}

#[test]
fn agent_capabilities() {
    // As le-agent-sdk writes and reads them.
    check(
        r#"{"kind":38400,"content":"EN-ES translation\nby people","tags":[["d","translate"],["s","translation"],["price","21","sats","per-request"],
        ["l402","https://agent.example/v1/translate"],["api_endpoint","https://api.example"],["api_method","POST"],
        ["schema","https://agent.example/openapi.json"],["t","ai-agent"],["negotiable","false"]]}"#,
        &[
            "38400:me:translate | EN-ES translation | translate | translation,ai-agent | 21 sat [price tag] | POST https://agent.example/v1/translate l402",
        ],
    );
    check(
        r#"{"kind":38400,"content":"Independent .NET-signed capability advertisement","tags":[["d","svc-dotnet"],["s","ai"]]}"#,
        &[
            "38400:me:svc-dotnet | Independent .NET-signed capability advertisement | svc-dotnet | ai | “” [] |   ",
        ],
    );
    // Two models; the one for a call counts.
    check(
        r#"{"kind":38400,"content":"","tags":[["d","x"],["price","900","sats","per-month"],["price","3"],["api_endpoint","https://a.example"]]}"#,
        &[
            "38400:me:x | x | x |  | 3 sat [price tag; also says 900 sats per month] | GET https://a.example/ ",
        ],
    );
    for price in ["-1", "21sats", "1e3", "0x15"] {
        let json = r#"{"kind":38400,"content":"c","tags":[["d","x"],["price","PRICE","sats"]]}"#;
        check(
            &json.replace("PRICE", price),
            &[&format!(
                "38400:me:x | c | x |  | “{price} sats” [price tag; the price is not a plain decimal number] |   "
            )],
        );
    }
    check(r#"{"kind":38400,"content":"c","tags":[["s","ai"]]}"#, &[]);
    check(r#"{"kind":38400,"content":"c","tags":[["d","x"]]}"#, &[]);
}

#[test]
fn inference_providers() {
    // As routstr-core announces itself.
    check(
        r#"{"kind":38421,"content":"{\"name\":\"Routstr Proxy\",\"about\":\"Privacy-preserving AI proxy via Nostr\"}",
        "tags":[["d","a1b2c3d4e5f6"],["u","http://abc.onion"],["u","https://api.provider.example"],["mint","https://mint.example.com/"],["version","0.2.0"]]}"#,
        &[
            "38421:me:a1b2c3d4e5f6 | Routstr Proxy | inference | inference,llm,routstr | “” [] | POST https://api.provider.example/ cashu",
        ],
    );
    check(
        r#"{"kind":38421,"content":"","tags":[["d","x"],["u","http://abc.onion"]]}"#,
        &[
            "38421:me:x | x | inference | inference,llm,routstr | “” [] | POST http://abc.onion/ cashu",
        ],
    );
    // Offers of another user of the number, and what the parsers refuse.
    check(
        r#"{"kind":38421,"content":"{}","tags":[["d","lnproxy"],["relay","wss://r"]]}"#,
        &[],
    );
    check(
        r#"{"kind":38421,"content":"{}","tags":[["u","https://a.example"]]}"#,
        &[],
    );
    check(
        r#"{"kind":38421,"content":"{}","tags":[["d","x"],["u","ftp://a"],["u","javascript:x"]]}"#,
        &[],
    );
}

#[test]
fn agent_services() {
    // The example of the protocol's page.
    check(
        r#"{"kind":38990,"content":"Text generation and translation. Powered by Claude.","tags":[["d","text-generation"],["name","Jeletor Text Agent"],
        ["c","text-generation"],["c","translation"],["price","21","sats","request"],["ln","agent@getalby.com"],["status","active"],["k","5050"],["t","ai"],["t","agent"]]}"#,
        &[
            "38990:me:text-generation | Jeletor Text Agent | text-generation | ai,agent | 21 sat [price tag] |   lightning",
            "38990:me:text-generation | Jeletor Text Agent | translation | ai,agent | 21 sat [price tag] |   lightning",
        ],
    );
    check(
        r#"{"kind":38990,"content":"","tags":[["d","w"],["price","1","sats","word"]]}"#,
        &[
            "38990:me:w | w | w |  | “1 sats per word” [price tag; the price is not for one call] |   ",
        ],
    );
    check(
        r#"{"kind":38990,"content":"","tags":[["d","f"],["price","0","","free"]]}"#,
        &["38990:me:f | f | f |  | “0” [price tag; the price is not in bitcoin] |   "],
    );
    check(
        r#"{"kind":38990,"content":"","tags":[["d","x"],["c","a"],["status","inactive"]]}"#,
        &[],
    );
}

#[test]
fn products() {
    // NIP-15, and the two ways in which it is found written otherwise.
    check(
        r#"{"kind":30018,"content":"{\"id\":\"p1\",\"stall_id\":\"s\",\"name\":\"5M Inbound Lease (30 days)\",\"description\":\"Heartbeat-verified\",\"currency\":\"sat\",\"price\":3600,\"quantity\":5}",
        "tags":[["d","p1"],["t","Lightning"]]}"#,
        &[
            "30018:me:p1 | 5M Inbound Lease (30 days) | p1 | lightning | 3600 sat [content price] |   ",
        ],
    );
    check(
        r#"{"kind":30018,"content":"{\"name\":\"Text Generation\",\"currency\":\"USD\",\"price\":0.05,\"quantity\":null}","tags":[["d","gen"]]}"#,
        &[
            "30018:me:gen | Text Generation | gen |  | “0.05 USD” [content price; the price is not in bitcoin; 0.05 USD] |   ",
        ],
    );
    check(
        r#"{"kind":30018,"content":"{\"name\":\"T\",\"price\":18.99}","tags":[["d","t"]]}"#,
        &["30018:me:t | T | t |  | “18.99” [content price; the price is not in bitcoin] |   "],
    );
    check(
        r#"{"kind":30018,"content":"","tags":[["d","pi"],["stall_id","s"],["name","Raspberry Pi 4"],["price","50000","sats"]]}"#,
        &["30018:me:pi | Raspberry Pi 4 | pi |  | 50000 sat [price tag] |   "],
    );
    check(
        r#"{"kind":30018,"content":"{\"name\":\"N\",\"currency\":\"btc\",\"price\":0.0000002}","tags":[["d","n"]]}"#,
        &["30018:me:n | N | n |  | 20 sat [content price] |   "],
    );
    for content in [
        r#"{\"name\":\"Gone\",\"price\":1,\"currency\":\"sat\",\"quantity\":0}"#,
        r#"{\"price\":1}"#,
        "no json",
    ] {
        let json = r#"{"kind":30018,"content":"CONTENT","tags":[["d","x"]]}"#;
        check(&json.replace("CONTENT", content), &[]);
    }
}

#[test]
fn the_interface_that_is_claimed_must_be_the_one_that_is_described() {
    use crate::protocol::schema::schema_hash;
    let schema = serde_json::json!({"type": "object", "properties": {"text": {"type": "string"}}});
    let hash = schema_hash("translate_text", &schema, None).unwrap();
    let own = schema_hash("translate", &schema, None).unwrap();
    let tools = |name: &str, meta: &str, tag: &str| {
        let content = serde_json::json!({"tools": [{
            "name": name, "description": "any", "inputSchema": schema,
            "_meta": {"io.contextvm/common-schema": {"schemaHash": meta}},
        }]});
        let json = serde_json::json!({"kind": 11317, "content": content.to_string(), "tags": [
            ["i", tag, name], ["k", "io.contextvm/common-schema"]]});
        let offer = read(&signed(&json.to_string())).remove(0);
        (offer.schema_hash.unwrap(), offer.schema_note)
    };
    assert_eq!(tools("translate_text", &hash, &hash), (hash.clone(), None));
    for (meta, tag) in [("ff00", hash.as_str()), (hash.as_str(), "ff00\u{202e}<b>")] {
        let (found, note) = tools("translate_text", meta, tag);
        assert_eq!(found, hash, "what is described counts");
        assert!(
            note.unwrap().contains("common interface ff00"),
            "{meta} {tag}"
        );
    }

    // A paid service gives its capability another name than the tool has.
    let service = |tool: &str, claim: &str| {
        let content =
            serde_json::json!({"capabilities": [{"name": "translate", "schema": schema}]});
        let json = serde_json::json!({"kind": 31402, "content": content.to_string(), "tags": [
            ["d", "x"], ["url", "https://a.example"], ["pmi", "l402"],
            ["i", claim, tool], ["k", "io.contextvm/common-schema"]]});
        let offer = read(&signed(&json.to_string())).remove(0);
        (offer.schema_hash.unwrap(), offer.schema_note.is_some())
    };
    assert_eq!(service("translate_text", &hash), (hash.clone(), false));
    assert_eq!(service("translate_text", &own), (own.clone(), false));
    assert_eq!(service("translate", &hash), (own, true));
}
