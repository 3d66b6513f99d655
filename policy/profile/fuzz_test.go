package profile_test

import (
	"testing"

	"mcpgateway/policy/profile"
	"mcpgateway/policy/view"
)

// FuzzLoad proves that no file makes Load panic, that it gives profiles or an
// error, and that what it gives loads again to the same.
func FuzzLoad(f *testing.F) {
	for _, content := range profile.Shipped(f) {
		f.Add(content)
	}
	f.Add([]byte("allow_weaker = true\nextends = \"browser\"\n[network]\nallow = [\"*.a.example:1\"]\n[syscalls]\nplus = [\"bpf\", \"@aio\"]\n[limits]\nio_max = [{device = \"/x\", read_bps = 1}]\n"))
	load := profile.Loader(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		set, err := load(content)
		if (set == nil) == (err == nil) {
			t.Fatalf("got %v and %v", set, err)
		}
		if err != nil {
			return
		}
		x, _ := set.Get("x")
		again, err := load([]byte(view.Text(x)))
		if err != nil {
			t.Fatalf("%s\n%v", view.Text(x), err)
		}
		y, _ := again.Get("x")
		if view.Text(x) != view.Text(y) {
			t.Errorf("again: got %s, want %s", view.Text(y), view.Text(x))
		}
	})
}
