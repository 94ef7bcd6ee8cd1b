//! News sent under a lock. (grpc-go#1353, from GoKer.)
//!
//! A balancer learns of new addresses and passes the list on, holding its lock.
//! The connection's thread takes each list and tells the balancer which
//! addresses are gone, which needs the lock.
//!
//! **The bug.** The second list is sent while the first is worked on.
//!
//! **Mended.** The list goes to a place of its own, where a newer one replaces
//! it: nobody waits to put it there.

use super::prim::{
    sync::{Condvar, Mutex, mpsc},
    thread,
};
use std::sync::Arc;

struct Latest {
    list: Mutex<Option<u32>>,
    put: Condvar,
}

/// Two lists, the second of which is the last.
pub fn body(mended: bool) {
    let balancer = Arc::new(Mutex::new(0));
    let latest = Arc::new(Latest { list: Mutex::new(None), put: Condvar::new() });
    let (lists, incoming) = mpsc::sync_channel(0);
    let connection = thread::spawn({
        let (balancer, latest) = (Arc::clone(&balancer), Arc::clone(&latest));
        move || {
            loop {
                let list = if mended {
                    let mut list = latest.list.lock().unwrap();
                    while list.is_none() {
                        list = latest.put.wait(list).unwrap();
                    }
                    list.take().unwrap()
                } else {
                    incoming.recv().unwrap()
                };
                *balancer.lock().unwrap() = list;
                if list == 2 {
                    return;
                }
            }
        }
    });
    for list in [1, 2] {
        let guard = balancer.lock().unwrap();
        if mended {
            *latest.list.lock().unwrap() = Some(list);
            latest.put.notify_one();
        } else {
            lists.send(list).unwrap();
        }
        drop(guard);
    }
    connection.join().unwrap();
}
