// Mcp-gateway-launch is the first process inside a sandbox. It waits for the server's
// standard streams, puts itself under the system-call filter, starts the server under
// it, passes signals on to it, reaps every process that is left to it, and ends with
// the server and the server's status. With it the kernel ends whatever else runs inside.
//
// Usage: mcp-gateway-launch [-landlock] DIRECTORY PROGRAM [ARGUMENT…]
//
// DIRECTORY becomes the working folder. Descriptors 0 to 2 are the socket that the
// streams come by, of type SOCK_SEQPACKET: this program says there that it is ready, by
// one NUL, or why not, and the streams replace them. Descriptor 3 is the filter, an array
// of struct sock_filter; descriptor 4 is a pipe whose other end the daemon holds;
// descriptor 5 is the server's environment, as in execve(2), which is not this program's
// own; with -landlock, descriptor 6 is a Landlock ruleset.
//
// It is C, without a library, because there is one of it for each server: the runtime of
// another language would be more than half of a sandbox's start, and more memory than many a
// server.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bare.h"

enum { filter_fd = 3, lifeline_fd, environment_fd, ruleset_fd };

enum { status_set_up = 125, // the sandbox could not be completed
	status_not_started = 126, // the server could not be executed
	status_not_found = 127 };

// server is what is to be executed.
struct server {
	char **argv, **env;
	int landlock;
	struct sock_fprog filter;
	uint64_t blocked; // signals, when this program was executed
	long pid;
	const char *failed; // what it could not do before
	long error; // why, as a system call says it
};

// explain is what a server's configuration can be the reason of; of all else there is the number.
static const char *explain(long error) {
	switch (-error) {
	case ENOENT: return "No such file or directory";
	case EACCES: return "Permission denied";
	case ENOEXEC: return "Exec format error";
	case ENOTDIR: return "Not a directory";
	case ELOOP: return "Too many levels of symbolic links";
	case EAGAIN: return "Resource temporarily unavailable";
	case ENOMEM: return "Cannot allocate memory";
	case E2BIG: return "Argument list too long";
	case EPERM: return "Operation not permitted";
	case EINVAL: return "Invalid argument";
	case EPIPE: return "Broken pipe";
	}
	return NULL;
}

struct message {
	size_t length;
	char text[512];
};

static void add(struct message *m, const char *text) {
	while (*text && m->length < sizeof m->text)
		m->text[m->length++] = *text++;
}

static void fail(int status, const char *what, const char *object, long error) {
	static struct message m; // one thread runs at a time, but for waiting
	const char *reason = explain(error);
	add(&m, "mcp-gateway-launch: ");
	add(&m, what);
	add(&m, object);
	add(&m, ": ");
	if (reason) {
		add(&m, reason);
	} else {
		char digits[5] = "", *digit = digits + sizeof digits - 1;
		error = -error;
		do
			*--digit = (char)('0' + error % 10);
		while ((error /= 10) && digit > digits);
		add(&m, "error ");
		add(&m, digit);
	}
	add(&m, "\n");
	sys(__NR_write, 2, m.text, m.length);
	for (;;)
		sys(__NR_exit_group, status);
}

// must ends the process if a call failed.
static long must(long result, const char *what) {
	if (result < 0)
		fail(status_set_up, what, "", result);
	return result;
}

static void close_on_exec(int fd) { must(sys(__NR_fcntl, fd, F_SETFD, FD_CLOEXEC), "fcntl"); }

// tie ties this process to the daemon's life and hides it from the server.
static void tie(void) {
	struct pollfd lifeline = {.fd = lifeline_fd};
	struct timespec none = {0};
	close_on_exec(lifeline_fd);
	must(sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl(PR_SET_PDEATHSIG)");
	// Had it ended before, the signal would not come; but nothing holds the pipe's other end.
	must(sys(__NR_ppoll, &lifeline, 1, &none), "poll");
	if (lifeline.revents)
		fail(status_set_up, "tie", "", -EPIPE);
	// Kernels before 6.14 call what is executed by a descriptor by its number.
	must(sys(__NR_prctl, PR_SET_NAME, "mcp-gateway-launch"), "prctl(PR_SET_NAME)");
	// The server has the same uid: it must neither read nor trace this process.
	must(sys(__NR_prctl, PR_SET_DUMPABLE, 0), "prctl(PR_SET_DUMPABLE)");
}

// map maps a file that is given as a descriptor, which stays open: an auditor reads there
// what the server was given.
static char *map(int fd, size_t *size) {
	struct stat st;
	close_on_exec(fd);
	must(sys(__NR_fstat, fd, &st), "fstat");
	*size = st.st_size;
	if (*size == 0)
		return NULL;
	return (char *)must(sys(__NR_mmap, NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0), "mmap");
}

// environment is the server's, as an array.
static char **environment(void) {
	size_t size, entries = 1;
	char *text = map(environment_fd, &size), *end = text + size, **env;
	for (size_t i = 0; i < size; i++)
		entries += !text[i];
	env = (char **)must(sys(__NR_mmap, NULL, entries * sizeof *env, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), "mmap");
	for (char **next = env; text < end; text += strlen(text) + 1)
		*next++ = text;
	return env;
}

// receive says that this process is ready, waits for the three streams and puts them in
// their places.
static void receive(void) {
	int streams[3];
	char byte;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof streams)];
	} rights;
	struct iovec text = {&byte, 1};
	struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
	must(sys(__NR_write, 0, "", 1), "write");
	must(sys(__NR_recvmsg, 0, &message, MSG_CMSG_CLOEXEC), "recvmsg");
	if (message.msg_controllen < CMSG_LEN(sizeof streams) || rights.header.cmsg_type != SCM_RIGHTS || rights.header.cmsg_len != CMSG_LEN(sizeof streams))
		fail(status_set_up, "take the streams", "", -EPROTO);
	memcpy(streams, CMSG_DATA(&rights.header), sizeof streams);
	for (int to = 0; to < 3; to++) {
		must(sys(__NR_dup3, streams[to], to, 0), "dup3");
		must(sys(__NR_close, streams[to]), "close");
	}
}

// filter is the system-call filter.
static struct sock_fprog filter(void) {
	size_t size;
	struct sock_fprog program = {.filter = (struct sock_filter *)map(filter_fd, &size)};
	program.len = size / sizeof *program.filter;
	if (size == 0 || size != program.len * sizeof *program.filter)
		fail(status_set_up, "read the filter", "", -EINVAL);
	return program;
}

// execute becomes the server. It shares this program's memory until then.
static int execute(void *given) {
	struct server *s = given;
	s->failed = "setsid";
	if ((s->error = sys(__NR_setsid)) >= 0) {
		s->failed = "sigprocmask";
		if ((s->error = sys(__NR_rt_sigprocmask, SIG_SETMASK, &s->blocked, NULL, sizeof s->blocked)) == 0) {
			s->failed = NULL;
			s->error = sys(__NR_execve, s->argv[0], s->argv, s->env);
		}
	}
	return status_set_up;
}

// confine is a thread. It puts itself under Landlock, every thread of the process under
// the filter, and starts the server, which inherits both. no_new_privs was set before this
// program was executed. The first thread, which stands for the process where signals are
// concerned, stays outside of the server's domain: on kernels with scopes the server can't
// signal it.
static int confine(void *given) {
	static char stack[16 << 10] __attribute__((aligned(16)));
	struct server *s = given;
	if (s->landlock)
		must(sys(__NR_landlock_restrict_self, ruleset_fd, 0), "landlock_restrict_self");
	if (must(sys(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &s->filter), "seccomp")) // the number of a thread
		fail(status_set_up, "put every thread under the filter", "", -EBUSY);
	s->pid = must(start_on(stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, execute, s), "clone");
	if (s->error && s->failed)
		fail(status_set_up, s->failed, "", s->error);
	if (s->error)
		fail(s->error == -ENOENT ? status_not_found : status_not_started, "execute ", s->argv[0], s->error);
	return 0;
}

// start executes the server with this process's standard streams, and lets go of them:
// only the server's end of them shall keep them open.
static void start(struct server *s) {
	static char stack[16 << 10] __attribute__((aligned(16)));
	long null;
	// It has this thread's memory to itself: this one waits for its end.
	must(start_on(stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_VFORK, confine, s), "clone");
	null = must(sys(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC), "open /dev/null");
	for (int fd = 0; fd < 3; fd++)
		must(sys(__NR_dup3, null, fd, 0), "dup3");
}

// reap collects every process that has ended; if the server has, it ends with its status.
static void reap(long server) {
	int status;
	long pid;
	while ((pid = sys(__NR_wait4, -1, &status, WNOHANG, NULL)) > 0) {
		if (pid == server)
			sys(__NR_exit_group, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	}
}

int main(int argc, char **argv) {
	struct server s = {0};
	uint64_t all = ~(uint64_t)0;
	uint64_t action[4] = {0}; // SIG_DFL, as the kernel takes it
	char *directory;
	s.landlock = argc > 1 && argv[1][0] == '-'; // the only option, where a path would begin with a slash
	if (argc < s.landlock + 3)
		fail(status_set_up, "usage: mcp-gateway-launch [-landlock] DIRECTORY PROGRAM [ARGUMENT…]", "", -EINVAL);
	directory = argv[s.landlock + 1];
	s.argv = argv + s.landlock + 2;
	// What was ignored where the daemon was started is not the server's matter; and if
	// SIGCHLD was, nobody could be waited for.
	for (int number = 1; number < __SIGRTMIN; number++)
		sys(__NR_rt_sigaction, number, action, NULL, sizeof all); // fails for SIGKILL and SIGSTOP
	must(sys(__NR_rt_sigprocmask, SIG_BLOCK, &all, &s.blocked, sizeof all), "sigprocmask"); // they wait until they are asked for
	tie();
	s.env = environment();
	s.filter = filter();
	if (s.landlock)
		close_on_exec(ruleset_fd);
	receive();
	// As the server's user, who must be able to be there.
	must(sys(__NR_chdir, directory), "enter the working directory");
	start(&s);
	for (;;) {
		long number = sys(__NR_rt_sigtimedwait, &all, NULL, NULL, sizeof all); // none if it was stopped meanwhile
		if (number == SIGCHLD)
			reap(s.pid);
		else if (number > 0) // only the daemon, or a process inside, can have sent it
			sys(__NR_kill, s.pid, number);
	}
}
