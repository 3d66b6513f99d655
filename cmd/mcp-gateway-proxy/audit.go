package main

import (
	"context"
	"os"

	"mcpgateway/policy/audit"
	"mcpgateway/policy/chain"
	"mcpgateway/runtime/control"
	"mcpgateway/runtime/peer"
)

// keeper is the daemon as the audit log sees it.
type keeper struct{ *peer.Link }

func (k keeper) Checkpoint(ctx context.Context, head chain.Head) (chain.Head, error) {
	signed, err := k.Link.Checkpoint(ctx, head.Chain, head.Sequence, head.Hash)
	return chain.Head(signed), err
}

func (k keeper) Rotate(ctx context.Context, head chain.Head) (audit.Handover, error) {
	log, file, err := k.Link.Rotate(ctx, head.Chain, head.Sequence, head.Hash)
	return handover(log, file), err
}

func handover(log control.Log, file *os.File) audit.Handover {
	return audit.Handover{File: file, Number: log.Number, Chain: log.Chain, After: (*chain.Head)(log.After)}
}
