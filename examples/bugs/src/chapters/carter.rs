//! The room is taken under the register's lock. (SCTBench, `CS.carter01`.)
//!
//! Who enters signs the register and takes the room; who leaves signs out and
//! gives the room back. The register has a lock, and so has the room.
//!
//! **The bug.** To enter is to wait for the room *with the register locked*;
//! who is in the room needs the register to leave.
//!
//! **Mended.** The room first, then the register.

use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

struct House {
    register: Mutex<u32>,
    room: Mutex<()>,
}

impl House {
    fn visit(&self, mended: bool) {
        let room = if mended {
            let room = self.room.lock().unwrap();
            *self.register.lock().unwrap() += 1;
            room
        } else {
            let mut register = self.register.lock().unwrap();
            *register += 1;
            self.room.lock().unwrap()
        };
        *self.register.lock().unwrap() -= 1;
        drop(room);
    }
}

/// Two visitors.
pub fn body(mended: bool) {
    let house = Arc::new(House { register: Mutex::new(0), room: Mutex::new(()) });
    let other = thread::spawn({
        let house = Arc::clone(&house);
        move || house.visit(mended)
    });
    house.visit(mended);
    other.join().unwrap();
}
