//! One module for each way of travelling.

pub mod process;
