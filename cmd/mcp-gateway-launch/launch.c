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
// It is C because there is one of it for each server: the runtime of another language
// would be more than half of a sandbox's start, and more memory than many a server.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { filter_fd = 3, lifeline_fd, environment_fd, ruleset_fd };

enum { status_set_up = 125, // the sandbox could not be completed
	status_not_started = 126, // the server could not be executed
	status_not_found = 127 };

// server is what is to be executed.
struct server {
	char **argv, **env;
	int landlock;
	struct sock_fprog filter;
	sigset_t blocked; // signals, when this program was executed
	pid_t pid;
	const char *failed; // what it could not do before
	int error; // why
};

static void fail(int status, const char *what, const char *object, int error) {
	dprintf(STDERR_FILENO, "mcp-gateway-launch: %s%s: %s\n", what, object, strerror(error));
	_exit(status);
}

// must ends the process if a call failed.
static void must(long result, const char *what) {
	if (result < 0)
		fail(status_set_up, what, "", errno);
}

static void close_on_exec(int fd) { must(fcntl(fd, F_SETFD, FD_CLOEXEC), "fcntl"); }

// tie ties this process to the daemon's life and hides it from the server.
static void tie(void) {
	struct pollfd lifeline = {.fd = lifeline_fd};
	close_on_exec(lifeline_fd);
	must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl(PR_SET_PDEATHSIG)");
	// Had it ended before, the signal would not come; but nothing holds the pipe's other end.
	must(poll(&lifeline, 1, 0), "poll");
	if (lifeline.revents)
		fail(status_set_up, "tie", "", EPIPE);
	// Kernels before 6.14 call what is executed by a descriptor by its number.
	must(prctl(PR_SET_NAME, "mcp-gateway-launch"), "prctl(PR_SET_NAME)");
	// The server has the same uid: it must neither read nor trace this process.
	must(prctl(PR_SET_DUMPABLE, 0), "prctl(PR_SET_DUMPABLE)");
}

// map maps a file that is given as a descriptor, which stays open: an auditor reads there
// what the server was given.
static char *map(int fd, size_t *size) {
	struct stat st;
	char *content;
	close_on_exec(fd);
	must(fstat(fd, &st), "fstat");
	*size = st.st_size;
	if (*size == 0)
		return NULL;
	content = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	must(content == MAP_FAILED ? -1 : 0, "mmap");
	return content;
}

// environment is the server's, as an array.
static char **environment(void) {
	size_t size, entries = 1;
	char *text = map(environment_fd, &size), *end = text + size, **env;
	for (size_t i = 0; i < size; i++)
		entries += !text[i];
	env = mmap(NULL, entries * sizeof *env, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(env == MAP_FAILED ? -1 : 0, "mmap");
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
	must(write(0, "", 1), "write");
	must(recvmsg(0, &message, MSG_CMSG_CLOEXEC), "recvmsg");
	if (message.msg_controllen < CMSG_LEN(sizeof streams) || rights.header.cmsg_type != SCM_RIGHTS || rights.header.cmsg_len != CMSG_LEN(sizeof streams))
		fail(status_set_up, "take the streams", "", EPROTO);
	memcpy(streams, CMSG_DATA(&rights.header), sizeof streams);
	for (int to = 0; to < 3; to++) {
		must(dup3(streams[to], to, 0), "dup3");
		must(close(streams[to]), "close");
	}
}

// filter is the system-call filter.
static struct sock_fprog filter(void) {
	size_t size;
	struct sock_fprog program = {.filter = (struct sock_filter *)map(filter_fd, &size)};
	program.len = size / sizeof *program.filter;
	if (size == 0 || size != program.len * sizeof *program.filter)
		fail(status_set_up, "read the filter", "", EINVAL);
	return program;
}

// execute becomes the server. It shares this program's memory until then.
static int execute(void *given) {
	struct server *s = given;
	s->failed = "setsid";
	if (setsid() >= 0) {
		s->failed = "sigprocmask";
		if (sigprocmask(SIG_SETMASK, &s->blocked, NULL) == 0) {
			s->failed = NULL;
			execve(s->argv[0], s->argv, s->env);
		}
	}
	s->error = errno;
	_exit(status_set_up);
}

// confine is a thread. It puts itself under Landlock, every thread of the process under
// the filter, and starts the server, which inherits both. no_new_privs was set before this
// program was executed. The first thread, which stands for the process where signals are
// concerned, stays outside of the server's domain: on kernels with scopes the server can't
// signal it.
static int confine(void *given) {
	static char stack[16 << 10] __attribute__((aligned(16)));
	struct server *s = given;
	long unfiltered;
	if (s->landlock)
		must(syscall(SYS_landlock_restrict_self, ruleset_fd, 0), "landlock_restrict_self");
	unfiltered = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &s->filter);
	must(unfiltered, "seccomp");
	if (unfiltered) // the number of a thread
		fail(status_set_up, "put every thread under the filter", "", EBUSY);
	s->pid = clone(execute, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, s);
	must(s->pid, "clone");
	if (s->error && s->failed)
		fail(status_set_up, s->failed, "", s->error);
	if (s->error)
		fail(s->error == ENOENT ? status_not_found : status_not_started, "execute ", s->argv[0], s->error);
	return 0;
}

// start executes the server with this process's standard streams, and lets go of them:
// only the server's end of them shall keep them open.
static void start(struct server *s) {
	static char stack[16 << 10] __attribute__((aligned(16)));
	int null;
	// It has this thread's memory to itself, errno among it: this one waits for its end.
	must(clone(confine, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_VFORK, s), "clone");
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	must(null, "open /dev/null");
	for (int fd = 0; fd < 3; fd++)
		must(dup3(null, fd, 0), "dup3");
}

// reap collects every process that has ended; if the server has, it ends with its status.
static void reap(pid_t server) {
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == server)
			_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	}
}

int main(int argc, char **argv) {
	struct server s = {0};
	sigset_t all;
	char *directory;
	s.landlock = argc > 1 && strcmp(argv[1], "-landlock") == 0;
	if (argc < s.landlock + 3)
		fail(status_set_up, "usage: mcp-gateway-launch [-landlock] DIRECTORY PROGRAM [ARGUMENT…]", "", EINVAL);
	directory = argv[s.landlock + 1];
	s.argv = argv + s.landlock + 2;
	// What was ignored where the daemon was started is not the server's matter; and if
	// SIGCHLD was, nobody could be waited for.
	for (int number = 1; number < __SIGRTMIN; number++)
		signal(number, SIG_DFL); // fails for SIGKILL and SIGSTOP
	sigfillset(&all);
	must(sigprocmask(SIG_BLOCK, &all, &s.blocked), "sigprocmask"); // they wait until they are asked for
	tie();
	s.env = environment();
	s.filter = filter();
	if (s.landlock)
		close_on_exec(ruleset_fd);
	receive();
	// As the server's user, who must be able to be there.
	must(chdir(directory), "enter the working directory");
	start(&s);
	for (;;) {
		int number = sigwaitinfo(&all, NULL); // none if it was stopped meanwhile
		if (number == SIGCHLD)
			reap(s.pid);
		else if (number > 0) // only the daemon, or a process inside, can have sent it
			kill(s.pid, number);
	}
}
