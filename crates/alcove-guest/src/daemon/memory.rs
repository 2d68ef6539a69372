//! Memory, processors and the time since boot, from `/proc`.

use std::fs;

use alcove_types::guest::Usage;

/// Memory used and there.
pub(super) fn usage() -> Usage {
    parse_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn parse_memory(meminfo: &str) -> Usage {
    let field = |name: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    let total = field("MemTotal");
    Usage { used: total.saturating_sub(field("MemAvailable")), total }
}

/// Seconds since boot.
pub(super) fn uptime_s() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0)
}

/// Measures the processors' use between two questions.
#[derive(Debug, Default)]
pub(super) struct CpuMeter {
    busy: u64,
    all: u64,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CpuUse {
    /// Share of all processors, 0 to 1.
    pub(super) share: f64,
    /// How many there are.
    pub(super) processors: u32,
}

impl CpuMeter {
    /// The use since the last question, or since boot.
    pub(super) fn measure(&mut self) -> CpuUse {
        self.take(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn take(&mut self, stat: &str) -> CpuUse {
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let all: u64 = ticks.iter().sum();
        // Idle and waiting for disks.
        let busy = all.saturating_sub(ticks.iter().skip(3).take(2).sum());
        let (busy_then, all_then) = (self.busy, self.all);
        (self.busy, self.all) = (busy, all);
        let passed = all.saturating_sub(all_then);
        let share = if passed == 0 { 0.0 } else { busy.saturating_sub(busy_then) as f64 / passed as f64 };
        let processors = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
        CpuUse { share, processors: u32::try_from(processors).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_nobody_could_have() {
        let usage = parse_memory("MemTotal:        3000 kB\nMemFree:  100 kB\nMemAvailable:    1000 kB\n");
        assert_eq!((usage.used, usage.total), (2000 * 1024, 3000 * 1024));
        assert_eq!(parse_memory("").total, 0);
    }

    #[test]
    fn processors_are_measured_between_questions() {
        let mut meter = CpuMeter::default();
        meter.take("cpu 100 0 100 700 100 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n");
        let used = meter.take("cpu 150 0 150 800 100 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n");
        assert_eq!(used, CpuUse { share: 0.5, processors: 2 });
        assert_eq!(meter.take("").share, 0.0);
    }
}
