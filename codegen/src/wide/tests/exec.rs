//! Compiled tiles in executable memory, writable first, then executable, never both.

use crate::wide::{TileCode, disassemble};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use std::ptr::null_mut;

pub struct Executable {
    base: *mut core::ffi::c_void,
    len: usize,
    pub code: TileCode,
}

impl Executable {
    pub fn new(code: &TileCode) -> Self {
        let len = code.bytes.len().next_multiple_of(4096);
        let rw = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping of `len` bytes overlaps nothing, and the copy fits it.
        let base = unsafe {
            let base = mmap_anonymous(null_mut(), len, rw, MapFlags::PRIVATE).unwrap();
            std::ptr::copy_nonoverlapping(code.bytes.as_ptr(), base.cast(), code.bytes.len());
            mprotect(base, len, MprotectFlags::READ | MprotectFlags::EXEC).unwrap();
            base
        };
        Self {
            base,
            len,
            code: code.clone(),
        }
    }

    /// Calls the tile, and checks that it keeps the registers that belong to the caller.
    pub fn call(&self, args: &[u64]) {
        let mut after = [0u64; 6];
        // SAFETY: the bytes are a function of this type; the test passes the arguments it reads.
        unsafe { call_checked(self.base, args.as_ptr(), &mut after) };
        assert_eq!(
            after, CALLEE_SAVED,
            "the tile changed the caller's registers"
        );
    }

    pub fn text(&self) -> String {
        disassemble(&self.code.bytes[..self.code.code_bytes])
    }
}

const CALLEE_SAVED: [u64; 6] = [101, 102, 103, 104, 105, 106];

/// Gives rbx, rbp and r12 to r15 known values around the call.
unsafe fn call_checked(f: *mut core::ffi::c_void, args: *const u64, after: &mut [u64; 6]) {
    // SAFETY: the registers are restored; the stack is aligned to 16 at the call.
    unsafe {
        std::arch::asm!(
            "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15", "push rsi",
            "mov rbx, rsp",
            "and rsp, -16",
            "push rbx", "push rbx",
            "mov rbx, 101", "mov rbp, 102", "mov r12, 103", "mov r13, 104", "mov r14, 105",
            "mov r15, 106",
            "call rax",
            "pop rcx", "mov rsp, rcx",
            "pop rsi",
            "mov [rsi], rbx", "mov [rsi + 8], rbp", "mov [rsi + 16], r12",
            "mov [rsi + 24], r13", "mov [rsi + 32], r14", "mov [rsi + 40], r15",
            "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
            inout("rax") f => _,
            inout("rdi") args => _,
            inout("rsi") after.as_mut_ptr() => _,
            clobber_abi("C"),
        );
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { munmap(self.base, self.len).unwrap() };
    }
}
