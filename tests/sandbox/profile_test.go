package sandbox_test

import (
	"path/filepath"
	"testing"

	"mcpgateway/policy/profile"
	"mcpgateway/sandbox"
)

// Scripts that use what servers use: files, threads, children, pipes, sockets.
const (
	nodeScript = `
const fs = require('fs'), {Worker} = require('worker_threads'), {execFileSync} = require('child_process'), net = require('net'), crypto = require('crypto');
fs.mkdirSync('/tmp/d'); fs.writeFileSync('/tmp/d/a', 'x'); fs.renameSync('/tmp/d/a', '/tmp/d/b'); fs.copyFileSync('/tmp/d/b', '/tmp/d/c');
fs.chmodSync('/tmp/d/b', 0o600); fs.rmSync('/tmp/d', {recursive: true}); crypto.randomBytes(8); require('dns').lookup('localhost', () => {});
const watch = fs.watch('/tmp'); execFileSync('/bin/ls', ['-l', '/']); WebAssembly.validate(new Uint8Array(8));
const server = net.createServer(s => s.end('x')).listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1').on('data', () => {
  new Worker('require("zlib").gzipSync(Buffer.alloc(1e5))', {eval: true}).on('exit', code => { watch.close(); server.close(); console.log('ran', code); });
}));`
	pythonScript = `
import asyncio, concurrent.futures, ctypes, multiprocessing, os, shutil, socket, sqlite3, ssl, subprocess, tempfile
async def child():
    return await (await asyncio.create_subprocess_exec("/bin/ls", "-l", "/", stdout=-1)).communicate()
asyncio.run(child()); subprocess.run(["/bin/true"], check=True)
with concurrent.futures.ThreadPoolExecutor(4) as e: list(e.map(len, ["a", "bb"]))
with multiprocessing.Pool(2) as p: p.map(abs, [-1, -2])
q = multiprocessing.Queue(); q.put(1); q.get()
c = sqlite3.connect("/tmp/x.db"); c.execute("create table t(a)"); c.execute("insert into t values(1)"); c.commit()
d = tempfile.mkdtemp(); shutil.copytree("/usr/share/doc/base-files", d + "/c"); shutil.rmtree(d)
ssl.create_default_context(); ctypes.CDLL(None)
s = socket.create_server(("127.0.0.1", 0)); socket.create_connection(s.getsockname()); s.accept()
print("ran", 0)`
)

// Of the shipped profiles: what a set takes away is not what its programs need.
// That every call of them ends the program proves that none is even tried; under
// strict some are, so there they fail.
func TestProgramsRunUnderTheirProfiles(t *testing.T) {
	profiles, err := profile.Load(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		profile, path string
		args          []string
		kill          bool
	}{
		{"node", "/usr/bin/node", []string{"-e", nodeScript}, true},
		{"python", "/usr/bin/python3", []string{"-c", pythonScript}, true},
		{"strict", "/usr/bin/node", []string{"-e", nodeScript}, false},
		{"strict", "/usr/bin/python3", []string{"-c", pythonScript}, false},
		{"browser", "/usr/bin/node", []string{"-e", nodeScript}, true},
	} {
		t.Run(tt.profile+" "+filepath.Base(tt.path), func(t *testing.T) {
			p, _ := profiles.Get(tt.profile)
			plus, minus, err := p.Syscalls.Resolve()
			if err != nil || len(minus) == 0 {
				t.Fatalf("Resolve: got %q without %q, %v, want some taken away", plus, minus, err)
			}
			s := spec(t, tt.path, tt.args...)
			s.Syscalls = sandbox.Syscalls{Plus: plus, Minus: minus, Kill: tt.kill}
			if got := runToEnd(t, s); got.stdout != "ran 0\n" || got.exit.Status != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}
