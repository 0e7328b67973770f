package transom

import (
	"context"
	"errors"
	"fmt"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// NetworkFilter is a filter of connections that the plugin has.
type NetworkFilter struct {
	// Name is what `extension:` of a use says; empty for the only one.
	Name string
	// Schema is the JSON schema of the configuration; empty for none.
	Schema string
	// Attributes that the filter looks at.
	Attributes []string
	// Parse reads a configuration. It touches nothing outside.
	Parse func(*Config) (*NetworkFilters, error)
}

// NetworkFilters is a configuration of a network filter that was read.
type NetworkFilters struct {
	// New makes the filter of a connection: a value with one or more of the methods below.
	New func() any
	// Prepare makes the use ready, once. May be nil.
	Prepare func(*Use) error
	// Clusters that callouts, and connections, may go to.
	Clusters []string
}

// NewConnection is for filters that see connections begin. Nothing is read before they answer.
type NewConnection interface {
	NewConnection(c *Conn) NetworkVerdict
}

// ClientData is for filters that see the client's bytes: all that wait, in [Conn.Bytes]. end: the client sends no more.
type ClientData interface {
	ClientData(c *Conn, end bool) NetworkVerdict
}

// HostData is for filters that see the bytes for the client.
type HostData interface {
	HostData(c *Conn, end bool) NetworkVerdict
}

// Closed is for filters that see connections end.
type Closed interface {
	Closed(c *Conn, by ResetReason)
}

// NetworkVerdict is the answer of a network filter.
type NetworkVerdict int32

const (
	// NetworkContinue lets the bytes go on.
	NetworkContinue NetworkVerdict = 0
	// NetworkStop has them wait; more arrive and are added.
	NetworkStop NetworkVerdict = 1
)

// Conn is a connection, as a filter sees it in its methods.
type Conn struct {
	flow
	bytes   []byte
	changed bool
}

func newConn(id uint64, port port, used *use, level Level, begin *pb.ConnectionBegin) *Conn {
	c := &Conn{}
	c.id, c.port, c.used, c.level, c.attributes = id, port, used, level, begin.GetAttributes()
	c.context, c.cancel = context.WithCancel(context.Background())
	if used.network == nil {
		c.failWith(errors.New(used.fault))
		return c
	}
	c.try(func() { c.filter = used.network.New() })
	return c
}

// Bytes are those that this call shows: all that wait.
func (c *Conn) Bytes() []byte { return c.bytes }

// SetBytes replaces them.
func (c *Conn) SetBytes(data []byte) { c.bytes, c.changed = data, true }

// Inject sends bytes of the filter's own on from here: towards the host (Request) or the client (Response).
func (c *Conn) Inject(direction Direction, data []byte, end bool) {
	c.ask(&pb.Action{Action: &pb.Action_Inject{Inject: &pb.Inject{Direction: pb.Direction(direction), Data: data, End: end}}})
}

// Resume lets go what waits here after NetworkStop.
func (c *Conn) Resume(direction Direction) {
	c.ask(&pb.Action{Action: &pb.Action_Resume{Resume: pb.Direction(direction)}})
}

// ChooseCluster has the tcp_proxy at the chain's end take this cluster, one of NetworkFilters.Clusters.
func (c *Conn) ChooseCluster(cluster string) {
	c.ask(&pb.Action{Action: &pb.Action_ChooseCluster{ChooseCluster: cluster}})
}

// Close ends the connection after what was written has left.
func (c *Conn) Close() { c.ask(&pb.Action{Action: &pb.Action_Terminate{Terminate: &pb.Unit{}}}) }

// Reset ends the connection at once.
func (c *Conn) Reset() { c.ask(&pb.Action{Action: &pb.Action_Reset_{Reset_: &pb.Unit{}}}) }

func (c *Conn) failWith(err error) {
	c.failed = true
	c.Fail(err.Error())
}

func (c *Conn) try(code func()) {
	defer func() {
		if panicked := recover(); panicked != nil {
			c.failWith(fmt.Errorf("the filter panicked: %v", panicked))
		}
	}()
	code()
}

func (c *Conn) begins(callback uint64) {
	c.run.Lock()
	defer c.run.Unlock()
	c.callback, c.early, c.detached = callback, int32(NetworkStop), false
	var verdict NetworkVerdict
	if filter, is := c.filter.(NewConnection); is && !c.failed {
		c.try(func() { verdict = filter.NewConnection(c) })
	}
	if !c.detached {
		c.callback = 0
		c.port.answer(c.id, callback, int32(verdict), c.take())
		return
	}
	if verdict == NetworkContinue && !c.failed {
		c.Resume(Request)
	}
	c.flush()
}

func (c *Conn) bytesArrive(callback uint64, m *pb.Data) {
	c.run.Lock()
	defer c.run.Unlock()
	c.callback, c.early, c.detached = callback, -1, false
	c.bytes, c.changed = m.Data, false
	var verdict NetworkVerdict
	if !c.failed {
		c.try(func() {
			if filter, is := c.filter.(ClientData); is && m.Direction == pb.Direction_REQUEST {
				verdict = filter.ClientData(c, m.End)
			} else if filter, is := c.filter.(HostData); is && m.Direction == pb.Direction_RESPONSE {
				verdict = filter.HostData(c, m.End)
			}
		})
	}
	if c.changed {
		c.ask(&pb.Action{Action: &pb.Action_Body{Body: &pb.ReplaceBody{Direction: m.Direction, Data: c.bytes}}})
	}
	c.bytes = nil
	c.callback = 0
	c.port.answer(c.id, callback, int32(verdict), c.take())
}

func (c *Conn) over(by pb.ResetReason) {
	c.cancel()
	c.run.Lock()
	defer c.run.Unlock()
	if filter, is := c.filter.(Closed); is && !c.failed {
		c.try(func() { filter.Closed(c, ResetReason(by)) })
	}
}
