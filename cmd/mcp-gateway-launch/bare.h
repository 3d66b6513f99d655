// What the launcher has instead of a C library: system calls, which return an error as a
// negative number, its entry, and what the compiler takes for granted. A library asks the
// processor for all of its features before it begins, which on virtual machines takes longer
// than all else that the launcher does.
#include <asm/unistd.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)

__asm__(".text\n"
	".global _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call begin\n");

static long call(long number, long a, long b, long c, long d, long e, long f) {
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}

// start_on is clone(2). The new thread or process runs a function on a stack of its own and
// ends with it.
static long start_on(void *stack, long flags, int (*run)(void *), void *given) {
	long result;
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	register int (*r12)(void *) __asm__("r12") = run;
	register void *r13 __asm__("r13") = given;
	__asm__ volatile("syscall\n"
			 "	test %%rax, %%rax\n"
			 "	jnz 1f\n"
			 "	xor %%ebp, %%ebp\n"
			 "	mov %%r13, %%rdi\n"
			 "	call *%%r12\n"
			 "	mov %%eax, %%edi\n"
			 "	mov %[exit], %%eax\n"
			 "	syscall\n"
			 "1:"
			 : "=a"(result)
			 : "a"((long)__NR_clone), "D"(flags), "S"(stack), "d"(0L), "r"(r10), "r"(r8), "r"(r12), "r"(r13), [exit] "i"(__NR_exit)
			 : "rcx", "r11", "memory");
	return result;
}

#elif defined(__aarch64__)

__asm__(".text\n"
	".global _start\n"
	"_start:\n"
	"	mov x29, #0\n"
	"	mov x30, #0\n"
	"	mov x0, sp\n"
	"	and sp, x0, #-16\n"
	"	b begin\n");

static long call(long number, long a, long b, long c, long d, long e, long f) {
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

static long start_on(void *stack, long flags, int (*run)(void *), void *given) {
	register long x8 __asm__("x8") = __NR_clone;
	register long x0 __asm__("x0") = flags;
	register void *x1 __asm__("x1") = stack;
	register long x2 __asm__("x2") = 0;
	register long x3 __asm__("x3") = 0;
	register long x4 __asm__("x4") = 0;
	register int (*x20)(void *) __asm__("x20") = run;
	register void *x21 __asm__("x21") = given;
	__asm__ volatile("svc #0\n"
			 "	cbnz x0, 1f\n"
			 "	mov x29, #0\n"
			 "	mov x0, x21\n"
			 "	blr x20\n"
			 "	mov x8, %[exit]\n"
			 "	svc #0\n"
			 "1:"
			 : "+r"(x0), "+r"(x8)
			 : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x20), "r"(x21), [exit] "i"(__NR_exit)
			 : "x30", "memory");
	return x0;
}

#else
#error "the launcher does not know this architecture"
#endif

// sys is a system call, with as many arguments as it takes.
#define sys(...) sys_with(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define sys_with(number, a, b, c, d, e, f, ...) call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

// What compilers make calls of.
__attribute__((used)) void *memset(void *to, int byte, size_t n) {
	for (volatile char *at = to; n--; at++)
		*at = (char)byte;
	return to;
}

__attribute__((used)) void *memcpy(void *restrict to, const void *restrict from, size_t n) {
	volatile char *at = to;
	for (const char *next = from; n--; next++)
		*at++ = *next;
	return to;
}

__attribute__((used)) size_t strlen(const char *text) {
	size_t n = 0;
	for (const volatile char *at = text; at[n];)
		n++;
	return n;
}

// The value that protects return addresses, and what is done when it was overwritten.
uintptr_t __stack_chk_guard;

__attribute__((noreturn, used)) void __stack_chk_fail(void) {
	for (;;)
		sys(__NR_exit_group, 125);
}

int main(int argc, char **argv);

extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));
extern const Elf64_Dyn _DYNAMIC[] __attribute__((visibility("hidden")));

// relocate tells this program, which can be anywhere, where it is. What it is linked of needs
// no relocation but those that are relative to that.
__attribute__((no_stack_protector)) static inline void relocate(void) {
	uintptr_t base = (uintptr_t)&__ehdr_start;
	const Elf64_Rela *next = NULL;
	size_t size = 0;
	for (const Elf64_Dyn *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == DT_RELA)
			next = (const Elf64_Rela *)(base + entry->d_un.d_ptr);
		if (entry->d_tag == DT_RELASZ)
			size = entry->d_un.d_val;
	}
	for (; size >= sizeof *next; size -= sizeof *next, next++)
		*(uintptr_t *)(base + next->r_offset) = base + next->r_addend;
}

// begin is told where the kernel has put arguments, environment and auxiliary vector, in
// which there are random bytes (getauxval(3)).
__attribute__((noreturn, used, no_stack_protector)) void begin(long *stack) {
	long *next = stack + 1 + stack[0] + 1; // the environment
	relocate();
	while (*next++)
		;
	for (; next[0]; next += 2)
		if (next[0] == AT_RANDOM)
			__stack_chk_guard = *(uintptr_t *)next[1];
	for (int status = main((int)stack[0], (char **)(stack + 1));;)
		sys(__NR_exit_group, status);
}
