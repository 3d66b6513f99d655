package fleet

import (
	"fmt"
	"testing"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// static is a call with an answer, which costs nothing.
type static []mcp.Message

func (static) Ready() <-chan struct{} { return nil }
func (s static) Take() []mcp.Message  { return s }
func (static) Cancel(string)          {}
func (static) Detach()                {}
func (static) Wake()                  {}
func (static) Leave()                 {}

// BenchmarkShared is what the fleet itself has to do for a call of a shared server that
// runs, but for what the connection to it does.
func BenchmarkShared(b *testing.B) {
	for _, strategy := range []policy.Strategy{policy.StrategyLeastBusy, policy.StrategyRoundRobin, policy.StrategyConsistentHash} {
		for _, replicas := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s of %d", strategy, replicas), func(b *testing.B) {
				f, _ := newFleet(b)
				s := spec("modern")
				s.Instances, s.Replicas, s.Strategy = policy.InstancesShared, replicas, strategy
				s.Breaker = &policy.Breaker{Failures: 5, Window: time.Minute, OpenFor: time.Minute, HalfOpen: 1}
				s.Restart = policy.Restart{Backoff: time.Second, MaxBackoff: time.Minute, Limit: 10, Reset: time.Minute}
				f.Reconcile(of(s))
				owner := by("key:a")
				for range 4 * replicas { // until each that is to run does
					if _, err := f.acquire(b.Context(), s, owner, 0); err != nil {
						b.Fatal(err)
					}
				}
				call := mcp.NewRequest([]byte("1"), mcp.MethodToolsCall, []byte("{}"))
				var answered link.Call = static{mcp.NewResult([]byte("1"), []byte("{}"))}
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						to, err := f.acquire(b.Context(), s, owner, 0)
						if err != nil {
							b.Error(err)
							return
						}
						done, err := f.judged(b.Context(), to.place, s.Breaker, to.conn.Ended(), call, func() (link.Call, error) {
							return answered, nil
						})
						if err != nil {
							b.Error(err)
							return
						}
						done.Take()
					}
				})
			})
		}
	}
}
