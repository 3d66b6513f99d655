package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"mcpgateway/policy/chain"
	"mcpgateway/runtime/control"
)

const (
	checkpointInterval = 10 * time.Second // at most, if there are new lines
	checkpointLines    = 4096             // or so many new lines,
	checkpointPause    = time.Second      // but not more often than that
)

// notary has the daemon sign heads, one at a time, and never an older one.
type notary struct {
	keeper Keeper
	log    *slog.Logger
	heads  chan chain.Head // the newest that may be signed

	mu   sync.Mutex
	last chain.Head // of what was signed last, or is to be
}

var errStale = errors.New("a later head was signed meanwhile")

// away reports whether an error says that there is no daemon at the moment. The next one
// has another chain signed, which vouches for this one.
func away(err error) bool { return errors.Is(err, control.ErrClosed) }

// run has the heads signed that come, until ctx ends.
func (n *notary) run(ctx context.Context) {
	var complained time.Time
	for {
		select {
		case head := <-n.heads:
			_, err := n.checkpoint(ctx, head)
			if err != nil && !errors.Is(err, errStale) && !away(err) && ctx.Err() == nil && time.Since(complained) >= complainPause {
				n.log.Error("the audit log is not signed", "err", err)
				complained = time.Now()
			}
		case <-ctx.Done():
			return
		}
	}
}

// offer has a head signed soon, in place of one that was not yet.
func (n *notary) offer(head chain.Head) {
	select {
	case <-n.heads:
	default:
	}
	n.heads <- head
}

// checkpoint has a head signed. What was begun goes on when ctx ends, for a while: the
// log must not go on in another file without the signature of what came before.
func (n *notary) checkpoint(ctx context.Context, head chain.Head) (chain.Head, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if head.Chain == n.last.Chain && head.Sequence < n.last.Sequence {
		return chain.Head{}, errStale
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keeperTimeout)
	defer cancel()
	n.last = head
	return n.keeper.Checkpoint(ctx, head)
}

// rotate asks for another file, and goes on, too: the daemon may have put this one aside.
func (n *notary) rotate(ctx context.Context, head chain.Head) (Handover, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keeperTimeout)
	defer cancel()
	n.last = head
	return n.keeper.Rotate(ctx, head)
}
