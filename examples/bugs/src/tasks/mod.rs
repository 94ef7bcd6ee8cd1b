//! The bugs of async tasks, for the engines that run them.

use crate::{TaskBug, Tasks};

pub mod kanal_24;
pub mod omicron_9259;
pub mod platform_3641;
pub mod rustfs_2795;

fn boxed<F: Future<Output = ()> + Send + 'static>(body: F) -> Tasks {
    Box::pin(body)
}

/// All of them.
pub const ALL: &[TaskBug] = &[
    TaskBug {
        name: "futurelock",
        source: "omicron#9259",
        minimum: 1,
        run: |mended| boxed(omicron_9259::body(mended)),
    },
    TaskBug {
        name: "cancelled receiver",
        source: "kanal#24",
        minimum: 1,
        run: |mended| boxed(kanal_24::body(mended)),
    },
    TaskBug {
        name: "cancelled writer",
        source: "rustfs#2795",
        minimum: 0,
        run: |mended| boxed(rustfs_2795::body(mended)),
    },
    TaskBug {
        name: "look and wait",
        source: "platform#3641",
        minimum: 1,
        run: |mended| boxed(platform_3641::body(mended)),
    },
];
