"""Virtual machines by qemu, confined by another engine."""

from sonata.adapters.runtime_qemu.guest_kernel import boot_refusal, find_all, guest_kernels
from sonata.adapters.runtime_qemu.runtime import QemuRuntime

__all__ = ["QemuRuntime", "boot_refusal", "find_all", "guest_kernels"]
