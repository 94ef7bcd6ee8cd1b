//! An item handed to somebody who was cancelled. (kanal#24.)
//!
//! A sender that finds a receiver waiting puts the item into its hands; without
//! one, into the queue.
//!
//! **The bug.** A receiver that is cancelled with the item in its hands drops
//! it. The sender was told that it was sent.
//!
//! **Mended.** It goes back to the head of the queue.

use selvedge_model::sync::Mutex;
use selvedge_model::task;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Poll, Waker};

type Hands = Arc<Mutex<(Option<u32>, Option<Waker>)>>;

#[derive(Default)]
struct Channel {
    /// The items, and the hands of the one who waits.
    state: Mutex<(VecDeque<u32>, Option<Hands>)>,
}

/// The end of a receive, cancelled or not.
struct Waiting<'a>(&'a Channel, Hands, bool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap();
        state.1 = None;
        let item = self.1.lock().unwrap().0.take();
        if let (Some(item), true) = (item, self.2) {
            state.0.push_front(item);
        }
    }
}

impl Channel {
    fn send(&self, item: u32) {
        let mut state = self.state.lock().unwrap();
        let Some(hands) = state.1.take() else {
            state.0.push_back(item);
            return;
        };
        let waker = {
            let mut hands = hands.lock().unwrap();
            hands.0 = Some(item);
            hands.1.take()
        };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    async fn receive(&self, mended: bool) -> u32 {
        let hands = Hands::default();
        let waiting = {
            let mut state = self.state.lock().unwrap();
            if let Some(item) = state.0.pop_front() {
                return item;
            }
            state.1 = Some(Arc::clone(&hands));
            Waiting(self, Arc::clone(&hands), mended)
        };
        let item = std::future::poll_fn(|context| {
            let mut hands = hands.lock().unwrap();
            hands.1 = Some(context.waker().clone());
            hands.0.take().map_or(Poll::Pending, Poll::Ready)
        });
        let item = item.await;
        drop(waiting);
        item
    }
}

/// A receiver is aborted while an item is sent.
pub async fn body(mended: bool) {
    let channel = Arc::new(Channel::default());
    let receiver = task::spawn({
        let channel = Arc::clone(&channel);
        async move { channel.receive(mended).await }
    });
    let sender = task::spawn({
        let channel = Arc::clone(&channel);
        async move { channel.send(1) }
    });
    receiver.abort();
    let received = receiver.await.is_ok();
    sender.await.unwrap();
    let left = channel.state.lock().unwrap().0.len();
    assert_eq!(left, usize::from(!received), "an item was sent, and is nowhere");
}
