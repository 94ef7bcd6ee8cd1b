//! A look at a job, for people.

use crate::beat::Beat;
use crate::cluster::{Worker, random};
use crate::error::{Error, chain};
use crate::place::Place;
use crate::setup;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a job looks like now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Messages and bytes that are stored. `None`: the job is not set up.
    pub stored: Option<(u64, u64)>,
    /// The workers that answered.
    pub workers: Vec<Worker>,
}

/// Asks the workers of a job who they are, and listens for a while. Changes
/// nothing.
///
/// # Errors
///
/// See [`Error`].
pub fn status(url: &str, listen: Duration) -> Result<Status, Error> {
    let place = Place::parse(url).map_err(|why| Error::Settings(why.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let look = move || runtime.block_on(look(place, listen));
    // The caller may itself run on a runtime.
    std::thread::spawn(look).join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

async fn look(place: Place, listen: Duration) -> Result<Status, Error> {
    let client = setup::connect(&place, place.options(Duration::from_secs(5))).await?;
    let server = |error: async_nats::SubscribeError| Error::Server(chain(&error));
    let mut answers = client.subscribe(place.workers_say()).await.map_err(server)?;
    let mut ask = Beat::new(random());
    // Nobody is to work for it.
    (ask.asks, ask.left) = (true, true);
    let _ = client.publish(place.callers(), ask.to_string().into()).await;
    let mut js = async_nats::jetstream::new(client);
    js.set_timeout(Duration::from_secs(5));
    let stored = setup::stored(&js, &place).await?;
    let mut workers = BTreeMap::new();
    let until = tokio::time::Instant::now() + listen;
    while let Ok(Some(message)) = tokio::time::timeout_at(until, answers.next()).await {
        if let Some(beat) = Beat::parse(&message.payload).filter(|beat| !beat.left) {
            workers.insert(beat.id, Worker::of(&beat, ask.identity));
        }
    }
    Ok(Status { stored, workers: workers.into_values().collect() })
}
