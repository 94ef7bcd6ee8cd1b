//! A keeper who is asked and asks. (etcd#7492, from GoKer.)
//!
//! A keeper thread lets tokens expire. New tokens are announced to it through a
//! channel, by whoever has the table of tokens locked; at a tick, it locks the
//! table itself to remove what has expired.
//!
//! **The bug.** A token is announced while the keeper is at a tick.
//!
//! **Mended.** The keeper's own list has a lock of its own; nothing is
//! announced.

use super::prim::{
    sync::{Mutex, mpsc},
    thread,
};
use std::sync::Arc;

enum Message {
    Add(u32),
    Tick,
}

/// A tick, and a token.
pub fn body(mended: bool) {
    let table = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (messages, incoming) = mpsc::sync_channel(0);
    let keeper = thread::spawn({
        let (table, kept) = (Arc::clone(&table), Arc::clone(&kept));
        move || {
            while let Ok(message) = incoming.recv() {
                match message {
                    Message::Add(token) => kept.lock().unwrap().push(token),
                    Message::Tick => {
                        let expired: Vec<u32> = kept.lock().unwrap().drain(..).collect();
                        table.lock().unwrap().retain(|token| !expired.contains(token));
                    }
                }
            }
        }
    });
    let clock = thread::spawn({
        let messages = messages.clone();
        move || messages.send(Message::Tick).unwrap()
    });
    {
        let mut table = table.lock().unwrap();
        table.push(7);
        if mended {
            drop(table);
            kept.lock().unwrap().push(7);
        } else {
            messages.send(Message::Add(7)).unwrap();
        }
    }
    drop(messages);
    clock.join().unwrap();
    keeper.join().unwrap();
}
