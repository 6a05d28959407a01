//! The picture of a listing: a PNG card drawn from the agent's configuration.
//!
//! Market clients hide a listing without an image, and an image on another host
//! would tell that host who looks. Drawn with a bitmap font, so it needs no font file.

use std::num::NonZeroUsize;

use bytes::Bytes;
use font8x8::{BASIC_FONTS, UnicodeFonts};
use lru::LruCache;
use parking_lot::Mutex;

const WIDTH: usize = 800;
const HEIGHT: usize = 420;
const MARGIN: usize = 48;
/// Pixels of a glyph's side before scaling.
const GLYPH: usize = 8;
/// Cards kept in memory; a card is about 5 kB.
const CACHED_CARDS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(127);

/// Height of the straight part of the awning.
const AWNING: usize = 32;
/// Width of one of its stripes.
const STRIPE: usize = 50;

/// Indexes into the palette.
const BACKGROUND: u8 = 0;
const TEXT: u8 = 1;
const MUTED: u8 = 2;
const ACCENT: u8 = 3;
const WARNING: u8 = 4;

const PAPER: [u8; 3] = [0x1d, 0x1a, 0x16];
const INK: [u8; 3] = [0xf4, 0xf1, 0xea];
const FADED: [u8; 3] = [0xb9, 0xaf, 0xa0];
const AMBER: [u8; 3] = [0xe6, 0xc3, 0x52];
const ACCENTS: [[u8; 3]; 6] = [
    [0xf7, 0x93, 0x1a],
    [0x4c, 0xb7, 0x82],
    [0x5b, 0x9d, 0xf5],
    [0xe5, 0x6b, 0x6f],
    [0xb0, 0x8c, 0xf0],
    [0xe0, 0xc0, 0x4c],
];

/// What stands on a card.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CardText {
    /// The agent.
    pub(crate) name: String,
    /// What it does.
    pub(crate) summary: String,
    /// What a call costs, with its unit.
    pub(crate) price: String,
    /// Money on it is pretended.
    pub(crate) is_simulated: bool,
}

/// Cards drawn before.
#[derive(Debug)]
pub(crate) struct Cards {
    drawn: Mutex<LruCache<CardText, Bytes>>,
}

impl Default for Cards {
    fn default() -> Self {
        Self {
            drawn: Mutex::new(LruCache::new(CACHED_CARDS)),
        }
    }
}

impl Cards {
    /// Returns the PNG of `text`.
    ///
    /// # Errors
    /// When the encoder fails, which it does not into memory.
    pub(crate) fn png(&self, text: CardText) -> Result<Bytes, png::EncodingError> {
        if let Some(card) = self.drawn.lock().get(&text) {
            return Ok(card.clone());
        }
        let card = Bytes::from(encode(&draw(&text), accent(&text.name))?);
        self.drawn.lock().put(text, card.clone());
        Ok(card)
    }
}

/// The same agent has the same colour on every card.
fn accent(name: &str) -> [u8; 3] {
    let hash = name.bytes().fold(5_381_usize, |hash, byte| {
        hash.wrapping_mul(33).wrapping_add(usize::from(byte))
    });
    ACCENTS[hash % ACCENTS.len()]
}

struct Canvas {
    pixels: Vec<u8>,
}

impl Canvas {
    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, colour: u8) {
        for row in top..(top + height).min(HEIGHT) {
            let start = row * WIDTH;
            let end = start + (left + width).min(WIDTH);
            self.pixels[start + left.min(WIDTH)..end].fill(colour);
        }
    }

    fn write(&mut self, text: &str, left: usize, top: usize, scale: usize, colour: u8) {
        for (column, letter) in text.chars().enumerate() {
            let glyph = BASIC_FONTS
                .get(letter)
                .or_else(|| BASIC_FONTS.get('?'))
                .unwrap_or_default();
            let left = left + column * GLYPH * scale;
            for (row, bits) in glyph.iter().enumerate() {
                for bit in (0..GLYPH).filter(|bit| bits >> bit & 1 == 1) {
                    self.fill(left + bit * scale, top + row * scale, scale, scale, colour);
                }
            }
        }
    }
}

/// Returns how many letters of `scale` fit between the margins.
const fn columns(scale: usize) -> usize {
    (WIDTH - 2 * MARGIN) / (GLYPH * scale)
}

fn draw(text: &CardText) -> Canvas {
    let mut canvas = Canvas {
        pixels: vec![BACKGROUND; WIDTH * HEIGHT],
    };
    draw_awning(&mut canvas);
    let scale = (3..=8)
        .rev()
        .find(|scale| text.name.chars().count() <= columns(*scale))
        .unwrap_or(3);
    canvas.write(&cut(&text.name, columns(scale)), MARGIN, 104, scale, TEXT);
    for (line, words) in wrap(&text.summary, columns(3), 3).iter().enumerate() {
        canvas.write(words, MARGIN, 190 + line * 36, 3, MUTED);
    }
    // A long price is written smaller: the mark at the right must stay readable.
    let scale = if text.price.chars().count() <= 9 {
        6
    } else {
        4
    };
    let price = cut(&text.price, 54 / scale);
    let tag_width = price.chars().count() * GLYPH * scale + 36;
    canvas.fill(MARGIN, 314, tag_width, GLYPH * scale + 24, ACCENT);
    canvas.write(&price, MARGIN + 18, 326, scale, BACKGROUND);
    if text.is_simulated {
        let mark = "SIMULATED";
        let left = WIDTH - MARGIN - mark.len() * GLYPH * 3;
        canvas.write(mark, left, 362, 3, WARNING);
    }
    canvas
}

/// Draws the roof of a market stall: stripes with round ends.
fn draw_awning(canvas: &mut Canvas) {
    for stripe in 0..WIDTH.div_ceil(STRIPE) {
        let colour = if stripe % 2 == 0 { ACCENT } else { TEXT };
        let left = stripe * STRIPE;
        canvas.fill(left, 0, STRIPE, AWNING, colour);
        // The end in steps of four pixels, as coarse as the letters.
        for (step, inset) in [0, 4, 4, 8, 12, 20].into_iter().enumerate() {
            let top = AWNING + step * 4;
            canvas.fill(left + inset, top, STRIPE - 2 * inset, 4, colour);
        }
    }
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

fn wrap(text: &str, length: usize, max_lines: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let fits = lines
            .last()
            .is_some_and(|line| line.chars().count() + 1 + word.chars().count() <= length);
        if let Some(line) = lines.last_mut().filter(|_| fits) {
            line.push(' ');
            line.push_str(word);
        } else if lines.len() < max_lines {
            lines.push(cut(word, length));
        } else {
            break;
        }
    }
    lines
}

fn encode(canvas: &Canvas, accent: [u8; 3]) -> Result<Vec<u8>, png::EncodingError> {
    let mut png = Vec::new();
    let width = u32::try_from(WIDTH).unwrap_or(u32::MAX);
    let height = u32::try_from(HEIGHT).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette([PAPER, INK, FADED, accent, AMBER].concat());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&canvas.pixels)?;
    writer.finish()?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, summary: &str) -> CardText {
        CardText {
            name: name.to_owned(),
            summary: summary.to_owned(),
            price: "21 sat".to_owned(),
            is_simulated: true,
        }
    }

    #[test]
    fn a_card_is_a_png_of_the_right_size() {
        let card = Cards::default()
            .png(text("translate", "Translates text."))
            .unwrap();

        let reader = png::Decoder::new(std::io::Cursor::new(card))
            .read_info()
            .unwrap();

        assert_eq!(reader.info().width, 800);
        assert_eq!(reader.info().height, 420);
    }

    #[test]
    fn hostile_text_stays_on_the_card() {
        let long = "x".repeat(5_000);
        for (name, summary) in [
            (long.as_str(), long.as_str()),
            ("", ""),
            ("日本語\n\u{0}", "é "),
        ] {
            assert!(Cards::default().png(text(name, summary)).is_ok());
        }
    }
}
