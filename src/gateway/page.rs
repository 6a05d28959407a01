//! The 402 for a person with a browser: the price, and codes to scan.
//!
//! No script, and nothing is loaded from elsewhere.

use fast_qr::convert::svg::SvgBuilder;
use fast_qr::qr::QRBuilder;
use feria_paywall::challenge::{ChallengePage, ChallengeView, escape};

/// Longest text that still makes a code that telephones read.
const MAX_QR_BYTES: usize = 1_800;

/// Renders the 402 with QR codes.
#[derive(Debug, Clone, Copy)]
pub(super) struct QrPage {
    /// Nothing here is worth money; the page says so.
    pub(super) is_simulated: bool,
}

impl ChallengePage for QrPage {
    fn html(&self, view: &ChallengeView<'_>) -> String {
        let terms = view.terms;
        let invoice = view.offers.invoice.as_deref();
        let ways: String = [
            ("Lightning invoice", invoice.map(str::to_uppercase), invoice),
            (
                "Cashu payment request",
                view.offers.cashu.clone(),
                view.offers.cashu.as_deref(),
            ),
        ]
        .into_iter()
        .filter_map(|(name, code, text)| {
            let picture = code.map(|code| qr(&code)).unwrap_or_default();
            let text = escape(text?);
            Some(format!(
                "<section><h2>{name}</h2>{picture}<pre>{text}</pre></section>"
            ))
        })
        .collect();
        let notice = if self.is_simulated {
            "<p><strong>Simulated money.</strong></p>"
        } else {
            ""
        };
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{price}</title><style>\
             body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}}\
             pre{{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem}}\
             svg{{width:16rem;height:16rem}}</style></head><body>\
             <h1>{description}</h1>{notice}<p>{price} for {uses} call(s). {detail}</p>{ways}\
             <p>If the service fails, the payment is given back.</p></body></html>",
            price = terms.price,
            description = escape(&terms.description),
            uses = terms.uses,
            detail = escape(&view.refusal.detail()),
        )
    }
}

fn qr(text: &str) -> String {
    if text.len() > MAX_QR_BYTES {
        return String::new();
    }
    QRBuilder::new(text)
        .build()
        .map(|code| SvgBuilder::default().to_str(&code))
        .unwrap_or_default()
}
