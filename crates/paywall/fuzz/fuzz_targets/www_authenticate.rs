//! Feeds `feria_paywall::testing::fuzz::www_authenticate`, which says what it promises.
#![no_main]

use feria_paywall::testing::fuzz;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::www_authenticate(input));
