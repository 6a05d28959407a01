//! The program `feria`.

fn main() {}
