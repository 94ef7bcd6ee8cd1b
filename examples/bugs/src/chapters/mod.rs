//! The bugs of threads. This folder is compiled once for each engine, with
//! `super::prim` that engine's primitives.

use super::{Bug, prim};

macro_rules! bugs {
    ($($module:ident { $($name:literal $source:literal $actors:literal $minimum:literal $body:ident;)* })*) => {
        $(pub mod $module;)*

        /// All of them.
        pub const ALL: &[Bug] = &[
            $($(Bug {
                name: $name,
                source: $source,
                actors: $actors,
                minimum: $minimum,
                run: $module::$body,
            },)*)*
        ];
    };
}

// The name, the source, how many threads it has with the body's, and with how
// many preemptions it can be shown.
bugs! {
    reorder {
        "reorder of 3" "SCTBench CS.reorder_3" 4 1 of_3;
        "reorder of 10" "SCTBench CS.reorder_10" 11 1 of_10;
        "reorder of 20" "SCTBench CS.reorder_20" 21 1 of_20;
    }
    twostage {
        "two stages" "SCTBench CS.twostage" 3 1 of_2;
        "two stages of 20" "SCTBench CS.twostage_20" 21 1 of_20;
    }
    wronglock { "wrong lock" "SCTBench CS.wronglock_3" 5 1 body; }
    account { "account" "SCTBench CS.account" 4 0 body; }
    bluetooth { "bluetooth driver" "SCTBench CS.bluetooth_driver" 2 1 body; }
    token_ring { "token ring" "SCTBench CS.token_ring" 4 0 body; }
    carter { "register and room" "SCTBench CS.carter01" 2 1 body; }
    stringbuffer { "string buffer" "SCTBench CB.stringbuffer-jdk1.4" 2 1 body; }
    work_stealing { "work stealing" "SCTBench chess.WSQ" 2 1 body; }
    safestack { "SafeStack" "SCTBench misc.safestack" 4 5 body; }
    circular_buffer { "circular buffer" "SCTBench CS.circular_buffer" 2 1 body; }
    deadlock { "two locks" "SCTBench CS.deadlock01" 2 1 body; }
    philosophers { "philosophers" "SCTBench CS.din_phil4_sat" 5 1 body; }
    pbzip2 { "pbzip2" "SCTBench CB.pbzip2-0.9.4" 3 1 body; }
    bounded_buffer { "bounded buffer" "SCTBench inspect.bbuf" 4 1 body; }
    etcd_6873 { "broadcaster" "etcd#6873" 2 0 body; }
    kubernetes_10182 { "pod status" "kubernetes#10182" 3 0 body; }
    kubernetes_6632 { "idle monitor" "kubernetes#6632" 3 1 body; }
    moby_28462 { "health probe" "moby#28462" 2 1 body; }
    grpc_1353 { "balancer" "grpc-go#1353" 2 0 body; }
    etcd_7492 { "token keeper" "etcd#7492" 3 1 body; }
    serving_2137 { "breaker" "knative/serving#2137" 3 0 body; }
    cockroach_6181 { "range cache" "cockroach#6181" 2 1 body; }
    etcd_6857 { "node status" "etcd#6857" 3 0 body; }
    kubernetes_25331 { "watch" "kubernetes#25331" 2 1 body; }
    grpc_1687 { "transport" "grpc-go#1687" 2 2 body; }
    tokio_3660 { "notify_waiters" "tokio#3660" 2 1 body; }
    tokio_2134 { "broadcast sender" "tokio#2134" 3 1 body; }
    tokio_1788 { "idle worker" "tokio#1788" 2 0 body; }
    tokio_904 { "queued permit" "tokio#904" 2 0 body; }
    tokio_4225 { "oneshot" "tokio#4225" 2 1 body; }
    crossbeam_1187 { "list channel" "crossbeam#1187" 2 2 body; }
    quick_cache_40 { "placeholder" "quick-cache#40" 3 1 body; }
    rustfs_4498 { "workers" "rustfs#4498" 3 1 body; }
    rayon_739 { "latch" "rayon#739" 2 1 body; }
    embassy_4598 { "signal reset" "embassy#4598" 2 1 body; }
}
