//! Settings of a store.
//!
//! Invariant: the defaults are those of the Java store.

/// When a message counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// Once it is in the page cache: a power cut may lose the tail (Java `ASYNC_FLUSH`).
    #[default]
    Async,
    /// Once it is durable (Java `SYNC_FLUSH`).
    Sync,
}

/// Settings of a store; Java `MessageStoreConfig`.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `flushDiskType`.
    pub flush: Flush,
    /// Bytes of a log file, `mappedFileSizeCommitLog`.
    pub log_file_bytes: u64,
    /// Entries of a queue file (20 bytes each), `mappedFileSizeConsumeQueue` / 20.
    pub queue_file_entries: u64,
    /// Hash slots of an index file, `maxHashSlotNum`.
    pub index_slots: u32,
    /// Entries of an index file, `maxIndexNum`.
    pub index_entries: u32,
    /// Largest body, `maxMessageSize`.
    pub body_bytes_max: usize,
    /// How long an asynchronous store waits before it asks for a sync, `flushIntervalCommitLog`, ms.
    pub flush_ms: u64,
    /// How long queue files may lag behind the log, `flushIntervalConsumeQueue`, ms.
    pub queue_flush_ms: u64,
    /// Age at which a log file may go, `fileReservedTime`, hours.
    pub reserved_hours: u64,
    /// Hours of the local day ([`StoreConfig::utc_offset_s`]) at which old files go, `deleteWhen`.
    pub delete_at_hours: Vec<u8>,
    /// How far local time is ahead of UTC now, seconds. The owner keeps it true over the change to summer time and back.
    pub utc_offset_s: i32,
    /// Disk use from which old files go whatever the hour, percent, `diskMaxUsedSpaceRatio`.
    pub disk_clean_percent: u8,
    /// Disk use from which files go whatever their age, percent.
    pub disk_force_percent: u8,
    /// Disk use from which writes are refused, percent.
    pub disk_refuse_percent: u8,
    /// Bytes of log that count as being in memory, for the size of a pull (`accessMessageInMemoryMaxRatio` of the RAM).
    pub memory_bytes: u64,
    /// Most messages and bytes of one answer whose records are in memory, `maxTransferCountOnMessageInMemory` and
    /// `maxTransferBytesOnMessageInMemory`.
    pub pull_in_memory: (u32, usize),
    /// Most messages and bytes of one answer whose records are on disk, `maxTransferCountOnMessageInDisk` and
    /// `maxTransferBytesOnMessageInDisk`.
    pub pull_on_disk: (u32, usize),
    /// `messageIndexEnable`.
    pub index: bool,
    /// `enabledAppendPropCRC`.
    pub append_prop_crc: bool,
    /// An operator says that the disk of this broker was lost (`storeWasLost`, ours): clients may stand at positions of before, and a
    /// store without a log believes none of them.
    pub was_lost: bool,
    /// What tells one run of the operating system from the next (on Linux `/proc/sys/kernel/random/boot_id`). While it stays
    /// the same, everything that a killed process wrote is still there, and a restart need not distrust it. Empty: unknown.
    pub boot: String,
}

impl StoreConfig {
    /// Milliseconds of the local day and those before it since 1970, for hours and midnights.
    pub fn local_ms(&self, wall_ms: u64) -> u64 {
        wall_ms.saturating_add_signed(i64::from(self.utc_offset_s) * 1000)
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            flush: Flush::Async,
            log_file_bytes: 1 << 30,
            queue_file_entries: 300_000,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            body_bytes_max: 4 << 20,
            flush_ms: 500,
            queue_flush_ms: 1000,
            reserved_hours: 72,
            delete_at_hours: vec![4],
            utc_offset_s: 0,
            disk_clean_percent: 75,
            disk_force_percent: 85,
            disk_refuse_percent: 90,
            memory_bytes: 4 << 30,
            pull_in_memory: (32, 256 * 1024),
            pull_on_disk: (8, 64 * 1024),
            index: true,
            append_prop_crc: false,
            was_lost: false,
            boot: String::new(),
        }
    }
}
