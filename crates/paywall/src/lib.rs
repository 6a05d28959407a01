//! A tower layer that charges per call: L402 and Cashu NUT-24 behind one 402.

pub mod amount;
pub mod payment;
