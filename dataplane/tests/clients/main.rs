//! Stock clients and hostile ones against the real programs and a real server, started by `weir-admin dev up`.

mod appliance;
mod bad_input;
mod drivers;
mod holds;
mod postgres;
mod survival;
