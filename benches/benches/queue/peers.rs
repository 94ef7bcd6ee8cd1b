//! The contestants behind two small traits.

use std::num::NonZeroUsize;
use std::time::Instant;

pub(crate) trait Peer {
    type Tx: Clone + Send;
    type Rx: Clone + Send;
    fn pair(capacity: Option<usize>) -> (Self::Tx, Self::Rx);
    fn send(tx: &Self::Tx, n: u64);
    fn recv(rx: &Self::Rx) -> Option<u64>;
}

pub(crate) trait AsyncPeer {
    type Tx: Clone + Send + Sync + 'static;
    type Rx: Send + 'static;
    fn pair(capacity: usize) -> (Self::Tx, Self::Rx);
    fn split(rx: Self::Rx, n: usize) -> Vec<Self::Rx>;
    fn send(tx: &Self::Tx, n: u64) -> impl Future<Output = ()> + Send;
    fn drain(rx: Self::Rx) -> impl Future<Output = ()> + Send + 'static;
}

pub(crate) struct Selvedge;
pub(crate) struct Crossbeam;
pub(crate) struct Crossfire;
pub(crate) struct Kanal;
pub(crate) struct Flume;
pub(crate) struct AsyncChannel;
pub(crate) struct Tokio;

impl Peer for Selvedge {
    type Tx = selvedge::queue::Sender<u64>;
    type Rx = selvedge::queue::Receiver<u64>;
    fn pair(capacity: Option<usize>) -> (Self::Tx, Self::Rx) {
        match capacity {
            Some(n) => selvedge::queue::bounded(NonZeroUsize::new(n).unwrap()),
            None => selvedge::queue::unbounded(),
        }
    }
    fn send(tx: &Self::Tx, n: u64) {
        tx.send(n).unwrap();
    }
    fn recv(rx: &Self::Rx) -> Option<u64> {
        rx.recv().ok()
    }
}

macro_rules! same_shape {
    ($peer:ident, $tx:ty, $rx:ty, $bounded:path, $unbounded:path, $send:ident, $recv:ident) => {
        impl Peer for $peer {
            type Tx = $tx;
            type Rx = $rx;
            fn pair(capacity: Option<usize>) -> (Self::Tx, Self::Rx) {
                match capacity {
                    Some(n) => $bounded(n),
                    None => $unbounded(),
                }
            }
            fn send(tx: &Self::Tx, n: u64) {
                tx.$send(n).unwrap();
            }
            fn recv(rx: &Self::Rx) -> Option<u64> {
                rx.$recv().ok()
            }
        }
    };
}

same_shape!(
    Crossbeam,
    crossbeam_channel::Sender<u64>,
    crossbeam_channel::Receiver<u64>,
    crossbeam_channel::bounded,
    crossbeam_channel::unbounded,
    send,
    recv
);
same_shape!(
    Kanal,
    kanal::Sender<u64>,
    kanal::Receiver<u64>,
    kanal::bounded,
    kanal::unbounded,
    send,
    recv
);
same_shape!(
    Flume,
    flume::Sender<u64>,
    flume::Receiver<u64>,
    flume::bounded,
    flume::unbounded,
    send,
    recv
);
same_shape!(
    AsyncChannel,
    async_channel::Sender<u64>,
    async_channel::Receiver<u64>,
    async_channel::bounded,
    async_channel::unbounded,
    send_blocking,
    recv_blocking
);

/// Its bounded and unbounded queues are different types.
#[derive(Clone)]
pub(crate) enum CrossfireTx {
    Bounded(crossfire::MTx<crossfire::mpmc::Array<u64>>),
    Unbounded(crossfire::MTx<crossfire::mpmc::List<u64>>),
}

#[derive(Clone)]
pub(crate) enum CrossfireRx {
    Bounded(crossfire::MRx<crossfire::mpmc::Array<u64>>),
    Unbounded(crossfire::MRx<crossfire::mpmc::List<u64>>),
}

impl Peer for Crossfire {
    type Tx = CrossfireTx;
    type Rx = CrossfireRx;
    fn pair(capacity: Option<usize>) -> (Self::Tx, Self::Rx) {
        match capacity {
            Some(n) => {
                let (tx, rx) = crossfire::mpmc::bounded_blocking(n);
                (CrossfireTx::Bounded(tx), CrossfireRx::Bounded(rx))
            }
            None => {
                let (tx, rx) = crossfire::mpmc::unbounded_blocking();
                (CrossfireTx::Unbounded(tx), CrossfireRx::Unbounded(rx))
            }
        }
    }
    fn send(tx: &Self::Tx, n: u64) {
        match tx {
            CrossfireTx::Bounded(tx) => tx.send(n).unwrap(),
            CrossfireTx::Unbounded(tx) => tx.send(n).unwrap(),
        }
    }
    fn recv(rx: &Self::Rx) -> Option<u64> {
        match rx {
            CrossfireRx::Bounded(rx) => rx.recv().ok(),
            CrossfireRx::Unbounded(rx) => rx.recv().ok(),
        }
    }
}

macro_rules! async_shape {
    ($peer:ident, $tx:ty, $rx:ty, $pair:expr, $send:ident, $recv:ident) => {
        impl AsyncPeer for $peer {
            type Tx = $tx;
            type Rx = $rx;
            fn pair(capacity: usize) -> (Self::Tx, Self::Rx) {
                $pair(capacity)
            }
            fn split(rx: Self::Rx, n: usize) -> Vec<Self::Rx> {
                vec![rx; n]
            }
            async fn send(tx: &Self::Tx, n: u64) {
                tx.$send(n).await.unwrap();
            }
            async fn drain(rx: Self::Rx) {
                while let Ok(n) = rx.$recv().await {
                    std::hint::black_box(n);
                }
            }
        }
    };
}

async_shape!(
    Selvedge,
    selvedge::queue::Sender<u64>,
    selvedge::queue::Receiver<u64>,
    |n| selvedge::queue::bounded(NonZeroUsize::new(n).unwrap()),
    send_async,
    recv_async
);
async_shape!(
    Kanal,
    kanal::AsyncSender<u64>,
    kanal::AsyncReceiver<u64>,
    kanal::bounded_async,
    send,
    recv
);
async_shape!(
    Crossfire,
    crossfire::MAsyncTx<crossfire::mpmc::Array<u64>>,
    crossfire::MAsyncRx<crossfire::mpmc::Array<u64>>,
    crossfire::mpmc::bounded_async,
    send,
    recv
);
async_shape!(
    AsyncChannel,
    async_channel::Sender<u64>,
    async_channel::Receiver<u64>,
    async_channel::bounded,
    send,
    recv
);

impl AsyncPeer for Tokio {
    type Tx = tokio::sync::mpsc::Sender<u64>;
    type Rx = tokio::sync::mpsc::Receiver<u64>;
    fn pair(capacity: usize) -> (Self::Tx, Self::Rx) {
        tokio::sync::mpsc::channel(capacity)
    }
    fn split(rx: Self::Rx, n: usize) -> Vec<Self::Rx> {
        assert_eq!(n, 1, "tokio's queue has one receiver");
        vec![rx]
    }
    async fn send(tx: &Self::Tx, n: u64) {
        tx.send(n).await.unwrap();
    }
    async fn drain(mut rx: Self::Rx) {
        while let Some(n) = rx.recv().await {
            std::hint::black_box(n);
        }
    }
}

/// One producer, one consumer, both spinning: the floor.
pub(crate) fn rtrb(capacity: usize, messages: usize) -> f64 {
    let (mut tx, mut rx) = rtrb::RingBuffer::new(capacity);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..messages {
                let mut value = n as u64;
                while let Err(rtrb::PushError::Full(back)) = tx.push(value) {
                    value = back;
                    std::hint::spin_loop();
                }
            }
        });
        let mut seen = 0;
        while seen < messages {
            match rx.pop() {
                Ok(n) => {
                    std::hint::black_box(n);
                    seen += 1;
                }
                Err(_) => std::hint::spin_loop(),
            }
        }
    });
    selvedge_benches::nanos(start.elapsed()) / messages as f64
}
