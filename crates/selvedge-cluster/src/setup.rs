//! What a job is on the server: a stream that is a queue of work, and a
//! consumer for each build.

use crate::error::{Error, chain};
use crate::place::Place;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{
    ConsumerInfoErrorKind, CreateStreamErrorKind, GetStreamErrorKind,
};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use async_nats::{Client, ConnectErrorKind};
use std::time::Duration;

/// What the server is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) lease: Duration,
    /// How long the server keeps what nobody takes.
    pub(crate) keep: Duration,
    pub(crate) room: i64,
    pub(crate) memory: bool,
    pub(crate) replicas: usize,
}

/// Connects.
pub(crate) async fn connect(
    place: &Place,
    options: async_nats::ConnectOptions,
) -> Result<Client, Error> {
    let options = match &place.creds {
        Some(file) => options
            .credentials_file(file)
            .await
            .map_err(|error| Error::Settings(format!("{}: {error}", file.display()).into()))?,
        None => options,
    };
    options.connect(place.server()).await.map_err(|error| {
        let why = format!("{place}: {}", chain(&error)).into();
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                Error::Refused(why)
            }
            ConnectErrorKind::ServerParse => Error::Settings(why),
            _ => Error::Unreachable(why),
        }
    })
}

impl Plan {
    fn storage(&self) -> StorageType {
        if self.memory { StorageType::Memory } else { StorageType::File }
    }

    fn stream(&self, place: &Place) -> Config {
        Config {
            name: place.stream(),
            subjects: vec![format!("{}.>", place.tasks())],
            retention: RetentionPolicy::WorkQueue,
            // The default drops the oldest without a word.
            discard: DiscardPolicy::New,
            max_bytes: self.room,
            max_age: self.keep,
            storage: self.storage(),
            num_replicas: self.replicas,
            duplicate_window: self.keep.min(Duration::from_secs(120)),
            ..Config::default()
        }
    }

    fn consumer(&self, place: &Place, identity: u64) -> pull::Config {
        pull::Config {
            durable_name: Some(place.consumer(identity)),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.lease,
            // A limit would leave the message in the stream, unseen, for ever.
            max_deliver: -1,
            filter_subject: format!("{}.>", place.tasks_of_build(identity)),
            max_ack_pending: 16_384,
            max_waiting: 8_192,
            inactive_threshold: self.keep,
            ..pull::Config::default()
        }
    }

    /// The job on the server, made if it is not there. `true`: it was made.
    pub(crate) async fn ensure(
        &self,
        js: &Context,
        place: &Place,
    ) -> Result<(Stream, bool), Error> {
        let wanted = self.stream(place);
        match js.get_stream(&wanted.name).await {
            Ok(stream) => {
                let found = &stream.cached_info().config;
                let differs = differences(found, &wanted);
                if differs.is_empty() {
                    return Ok((stream, false));
                }
                Err(Error::OtherSettings(format!("stream {}: {differs}", wanted.name).into()))
            }
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(why)
                    if why.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    self.create(js, wanted).await.map(|stream| (stream, true))
                }
                GetStreamErrorKind::JetStream(why) => Err(jetstream_error(&why)),
                _ => Err(no_answer(&error)),
            },
        }
    }

    async fn create(&self, js: &Context, wanted: Config) -> Result<Stream, Error> {
        js.create_stream(wanted).await.map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStream(why) => jetstream_error(&why),
            CreateStreamErrorKind::JetStreamUnavailable => Error::NoJetStream(chain(&error)),
            _ => Error::Server(chain(&error)),
        })
    }

    /// Where workers of a build get their tasks. `true`: it was made.
    pub(crate) async fn consumer_of(
        &self,
        stream: &Stream,
        place: &Place,
        identity: u64,
    ) -> Result<(PullConsumer, bool), Error> {
        let wanted = self.consumer(place, identity);
        let name = place.consumer(identity);
        if let Some(found) = find_consumer(stream, &name).await? {
            let lease = found.cached_info().config.ack_wait;
            if lease == self.lease {
                return Ok((found, false));
            }
            // Nobody waits for it by another lease than its own: workers read
            // it from here.
            let why = format!("its lease is {lease:?} and not {:?}", self.lease);
            return Err(Error::OtherSettings(format!("consumer {name}: {why}").into()));
        }
        match stream.create_consumer(wanted).await {
            Ok(made) => Ok((made, true)),
            Err(error) => Err(Error::Server(chain(&error))),
        }
    }

    /// The store of what is too large for a message, made if it is not there.
    pub(crate) async fn objects(&self, js: &Context, place: &Place) -> Result<ObjectStore, Error> {
        if let Ok(store) = js.get_object_store(place.bucket()).await {
            return Ok(store);
        }
        let config = object_store::Config {
            bucket: place.bucket(),
            max_age: self.keep,
            max_bytes: -1,
            storage: self.storage(),
            num_replicas: self.replicas,
            ..object_store::Config::default()
        };
        js.create_object_store(config).await.map_err(|error| Error::Server(chain(&error)))
    }
}

/// Messages and bytes of a job, if it is set up.
pub(crate) async fn stored(js: &Context, place: &Place) -> Result<Option<(u64, u64)>, Error> {
    match js.get_stream(place.stream()).await {
        Ok(stream) => {
            let state = &stream.cached_info().state;
            Ok(Some((state.messages, state.bytes)))
        }
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(why)
                if why.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            GetStreamErrorKind::JetStream(why) => Err(jetstream_error(&why)),
            _ => Err(no_answer(&error)),
        },
    }
}

/// The consumer of that name, if it is there.
pub(crate) async fn find_consumer(
    stream: &Stream,
    name: &str,
) -> Result<Option<PullConsumer>, Error> {
    if let Err(error) = stream.consumer_info(name).await {
        return match error.kind() {
            ConsumerInfoErrorKind::NotFound => Ok(None),
            ConsumerInfoErrorKind::JetStream(why)
                if why.error_code() == ErrorCode::CONSUMER_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(Error::Server(chain(&error))),
        };
    }
    match stream.get_consumer::<pull::Config>(name).await {
        Ok(consumer) => Ok(Some(consumer)),
        Err(error) => Err(Error::Server(format!("consumer {name}: {error}").into())),
    }
}

fn jetstream_error(why: &async_nats::jetstream::Error) -> Error {
    let text = chain(why);
    match why.error_code() {
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::MEMORY_RESOURCES_EXCEEDED => {
            Error::Full(text)
        }
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            Error::NoJetStream(text)
        }
        _ => Error::Server(text),
    }
}

/// A question that got no answer at all: nobody listens where JetStream would.
fn no_answer(error: &(dyn std::error::Error + 'static)) -> Error {
    let text = chain(error);
    if text.contains("no responders")
        || text.contains("resource does not exist")
        || text.contains("not enabled")
        || text.contains("unavailable")
    {
        return Error::NoJetStream(text);
    }
    Error::Server(text)
}

/// What is set up in another way than is wanted.
fn differences(found: &Config, wanted: &Config) -> String {
    let mut differs = Vec::new();
    let mut compare = |what: &str, found: String, wanted: String| {
        if found != wanted {
            differs.push(format!("{what} is {found} and not {wanted}"));
        }
    };
    compare("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention));
    compare("discard", format!("{:?}", found.discard), format!("{:?}", wanted.discard));
    compare("subjects", format!("{:?}", found.subjects), format!("{:?}", wanted.subjects));
    compare("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage));
    compare("max_age", format!("{:?}", found.max_age), format!("{:?}", wanted.max_age));
    compare("max_bytes", found.max_bytes.to_string(), wanted.max_bytes.to_string());
    compare("replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string());
    differs.join(", ")
}
