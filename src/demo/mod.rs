//! stand-in
#![allow(missing_docs)]
pub struct DemoOptions {
    pub learners: usize,
    pub duration: std::time::Duration,
    pub rhythm: Rhythm,
    pub fast: bool,
    pub json: bool,
}
#[derive(Clone, Copy)]
pub enum Rhythm {
    Player,
    Pings,
}
pub async fn run(_: DemoOptions) -> anyhow::Result<bool> {
    Ok(true)
}
