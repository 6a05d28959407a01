//! Feeds `feria_paywall::testing::fuzz::authorization`, which says what it promises.
#![no_main]

use feria_paywall::testing::fuzz;

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::authorization(input));
