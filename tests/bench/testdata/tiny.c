// Tiny is the least MCP server: it answers every request of the handshake era with the
// same result, which is one of initialize and of tools/call at once. What it uses is not
// what a sandbox costs.
#include <string.h>
#include <unistd.h>

static char line[8192], out[8192];

static void say(const char *text, size_t n) {
	while (n > 0) {
		ssize_t wrote = write(1, text, n);
		if (wrote <= 0)
			_exit(1);
		text += wrote;
		n -= wrote;
	}
}

static void answer(char *request) {
	static const char version[] = "{\"jsonrpc\":\"2.0\",\"id\":";
	static const char result[] = ",\"result\":{\"protocolVersion\":\"2025-11-25\",\"serverInfo\":{\"name\":\"tiny\",\"version\":\"1\"},"
		"\"capabilities\":{\"tools\":{}},\"content\":[{\"type\":\"text\",\"text\":\"hello, bench\"}]}}\n";
	char *id = strstr(request, "\"id\":"), *end;
	if (!id)
		return;
	id += 5;
	end = id + strcspn(id, ",}");
	memcpy(out, version, sizeof version - 1);
	memcpy(out + sizeof version - 1, id, end - id);
	memcpy(out + sizeof version - 1 + (end - id), result, sizeof result - 1);
	say(out, sizeof version - 1 + (end - id) + sizeof result - 1);
}

int main(void) {
	size_t have = 0;
	for (;;) {
		ssize_t n = read(0, line + have, sizeof line - 1 - have);
		char *end;
		if (n <= 0)
			return n < 0;
		have += n;
		line[have] = 0;
		while ((end = strchr(line, '\n'))) {
			*end++ = 0;
			answer(line);
			have -= end - line;
			memmove(line, end, have + 1);
		}
	}
}
