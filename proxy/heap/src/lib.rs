//! Gives memory that was freed back to the kernel.
//!
//! Why: the C library keeps what is freed below something that is still in use, so that a process stays as large as it once was. Where memory
//! has a limit, one that was near it for a moment would look short of memory for good.
//! Invariant: this is the only unsafe code of the project; it is here so that all other packages can forbid it.

/// Gives the pages back that hold nothing. Takes some milliseconds for a hundred megabytes, in which other threads may wait for memory.
/// Where the C library is not glibc, it does nothing.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it takes a number and may be called by any thread at any time (malloc_trim(3): MT-Safe); what is in use is not touched.
        #[allow(unsafe_code)]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    /// Resident memory in KiB.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("a kernel with /proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn what_is_freed_between_what_is_used_goes_back() {
        let mut blocks: Vec<_> = (0..1_000).map(|_| (vec![1_u8; 64 << 10], vec![1_u8; 100])).collect();
        let full = resident();
        blocks.iter_mut().for_each(|(large, _)| *large = Vec::new());
        super::give_back();
        assert!(resident() + (50 << 10) < full, "{} of {full} KiB", resident());
        assert!(blocks.iter().all(|(_, small)| small.iter().all(|&byte| byte == 1)));
    }
}
