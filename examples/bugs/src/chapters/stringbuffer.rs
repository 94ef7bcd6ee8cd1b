//! A length that is old. (SCTBench, `CB.stringbuffer-jdk1.4`.)
//!
//! Every method of a buffer is synchronized. To append one buffer to another
//! asks it for its length, then for that many characters.
//!
//! **The bug.** Two synchronized calls are not one: between them, another
//! thread truncates the buffer.
//!
//! **Mended.** Both under one lock.

use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

/// A synchronized buffer.
struct Buffer(Mutex<String>);

impl Buffer {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn get(&self, length: usize) -> String {
        let text = self.0.lock().unwrap();
        assert!(length <= text.len(), "index out of range: {length} of {}", text.len());
        text[..length].to_owned()
    }

    fn truncate(&self) {
        self.0.lock().unwrap().clear();
    }

    fn append(&self, other: &Self, mended: bool) {
        let text = if mended {
            other.0.lock().unwrap().clone()
        } else {
            let length = other.len();
            other.get(length)
        };
        self.0.lock().unwrap().push_str(&text);
    }
}

/// One thread appends what another truncates.
pub fn body(mended: bool) {
    let source = Arc::new(Buffer(Mutex::new("abc".to_owned())));
    let eraser = thread::spawn({
        let source = Arc::clone(&source);
        move || source.truncate()
    });
    let all = Buffer(Mutex::new(String::new()));
    all.append(&source, mended);
    eraser.join().unwrap();
}
