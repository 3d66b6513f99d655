package usage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"time"

	"mcpgateway/policy"
	"mcpgateway/proxy/ledger"
)

const (
	eventType        = "mcp.gateway.usage.v1"
	batchType        = "application/cloudevents-batch+json; charset=utf-8"
	eventsAtOnce     = 200
	cutsAtOnce       = 2 // one that is left of a time before, and one of what has come since
	sinkWait         = 30 * time.Second
	maxExportBackoff = 5 * time.Minute
	exportTick       = time.Second
	maxSinkAnswer    = 200 // bytes that are shown of it
)

// event is a CloudEvent 1.0 (structured mode).
type event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"` // the same whenever it is sent
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject"` // the project
	Time        time.Time `json:"time"`    // the beginning of the hour that it is about
	ContentType string    `json:"datacontenttype"`
	Data        eventData `json:"data"`
}

// eventData is what was used since the event before of the same kind.
type eventData struct {
	Project        string      `json:"project"`
	Server         string      `json:"server"`
	Method         string      `json:"method"`
	Tool           string      `json:"tool"`
	Identity       string      `json:"identity"`
	Calls          int64       `json:"calls"`
	Errors         int64       `json:"errors"`
	Refused        int64       `json:"refused"`
	BytesIn        int64       `json:"bytes_in"`
	BytesOut       int64       `json:"bytes_out"`
	WallSeconds    json.Number `json:"wall_seconds"`
	CPUSeconds     json.Number `json:"cpu_seconds"`
	GiBHours       json.Number `json:"memory_gib_hours"`
	EgressSent     int64       `json:"egress_sent_bytes"`
	EgressReceived int64       `json:"egress_received_bytes"`
}

func newEvent(ledgerID string, cut int64, k ledger.Key, a ledger.Amounts) event {
	name := sha256.Sum256(encode(nil, k, ledger.Amounts{}))
	decimal := func(count, per int64, digits int) json.Number {
		return json.Number(big.NewRat(count, per).FloatString(digits))
	}
	const gibHour = (1 << 20) * 3600 // in KiB-seconds
	return event{
		SpecVersion: "1.0", ID: fmt.Sprintf("%s-%d-%x", ledgerID, cut, name[:8]), Source: "/mcp-gateway/ledgers/" + ledgerID, Type: eventType,
		Subject: k.Project, Time: time.Unix(k.Hour, 0).UTC(), ContentType: "application/json",
		Data: eventData{
			Project: k.Project, Server: k.Server, Method: k.Method, Tool: k.Tool, Identity: k.Identity,
			Calls: a.Calls, Errors: a.Errors, Refused: a.Refused, BytesIn: a.BytesIn, BytesOut: a.BytesOut,
			WallSeconds: decimal(a.WallMicros, microseconds, 6), CPUSeconds: decimal(a.CPUMicros, microseconds, 6),
			GiBHours: decimal(a.MemoryKiBSeconds, gibHour, 12), EgressSent: a.EgressSent, EgressReceived: a.EgressReceived,
		},
	}
}

// exporter sends what is in the ledger's outbox to a sink.
type exporter struct {
	*Meter
	rules   *policy.UsageExport // that client is for
	client  *http.Client
	next    time.Time
	backoff time.Duration
}

// exports sends events, if the policy wants that, until ctx ends.
func (m *Meter) exports(ctx context.Context) {
	e := &exporter{Meter: m}
	tick := time.NewTicker(exportTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.tick(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (e *exporter) tick(ctx context.Context) {
	rules, now := e.exportRules(), time.Now()
	if rules == nil || now.Before(e.next) {
		return
	}
	err := e.use(rules)
	if err == nil {
		err = e.send(ctx, now)
	}
	switch {
	case ctx.Err() != nil: // what was on its way comes again, with the same ids
	case err != nil:
		if e.backoff == 0 {
			e.log.Warn("usage can't be exported: it is kept, and tried again", "err", err)
		}
		e.backoff = min(maxExportBackoff, max(firstBackoff, 2*e.backoff))
		e.next = now.Add(e.backoff)
	default:
		if e.backoff > 0 {
			e.log.Info("usage can be exported again")
		}
		e.backoff, e.next = 0, now.Add(rules.Interval)
	}
}

// use makes a client that trusts what the rules say.
func (e *exporter) use(rules *policy.UsageExport) error {
	if e.client != nil && e.rules == rules {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(rules.RootCAs) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(rules.RootCAs) {
			return errors.New("usage.export.ca_file has no certificate")
		}
	}
	if e.client != nil {
		e.client.CloseIdleConnections()
	}
	e.rules = rules
	e.client = &http.Client{
		Timeout:   sinkWait,
		Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConns: 1, IdleConnTimeout: sinkWait},
		// The headers are a secret of this sink alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// send sends what there is, if no other gateway does at the moment.
func (e *exporter) send(ctx context.Context, now time.Time) error {
	if e.store.Shared() {
		mine, err := e.store.Lease(ctx, e.name, now, now.Add(e.rules.Interval+sinkWait))
		if err != nil || !mine {
			return err
		}
	}
	id, err := e.store.ID(ctx)
	if err != nil {
		return err
	}
	for range cutsAtOnce {
		cut, err := e.store.Cut(ctx)
		if err != nil || cut == 0 {
			return err
		}
		for more := true; more; {
			if more, err = e.some(ctx, id, cut); err != nil {
				return err
			}
		}
	}
	return nil
}

// some sends some events of a cut, and reports whether there may be more.
func (e *exporter) some(ctx context.Context, id string, cut int64) (more bool, err error) {
	keys, entries, err := e.store.Outbox(ctx, cut, eventsAtOnce)
	if err != nil || len(keys) == 0 {
		return false, err
	}
	events := make([]event, 0, len(keys))
	for _, k := range keys {
		events = append(events, newEvent(id, cut, k, entries[k]))
	}
	if err := e.post(ctx, events); err != nil {
		return false, err
	}
	// If this fails the same events are sent again: a sink tells them by their ids.
	return true, e.store.Sent(ctx, cut, keys)
}

func (e *exporter) post(ctx context.Context, events []event) error {
	body, err := json.Marshal(events)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.rules.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", batchType)
	for name, value := range e.rules.Headers {
		request.Header.Set(name, value)
	}
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxSinkAnswer))
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the sink answered %d: %.*q", response.StatusCode, maxSinkAnswer, answer)
	}
	return err
}
