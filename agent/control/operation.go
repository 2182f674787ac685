package control

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
)

// Prefix begins the path of every operation.
const Prefix = "/v1"

// Role is what somebody must be to have an operation carried out.
type Role string

// Roles; each may do what those before it may.
const (
	Viewer   Role = "viewer"   // sees how the appliance is
	Operator Role = "operator" // looks after phones, bans and stacks
	Admin    Role = "admin"    // changes the configuration, sees passwords
)

// Operation declares something that the daemon does for somebody: one answer to
// one request. The daemon's route, the client's call and the API's description
// come from the declaration; it never changes while the program runs.
//
// Req is a struct. Fields with a tag `path:"name"` fill {name} in Path, those with
// `query:"name"` are query parameters, the others are the JSON body.
type Operation[Req, Resp any] struct {
	ID      string // unique and stable: clients are generated from it
	Method  string // GET changes nothing
	Path    string // below Prefix, with {name} for a field of Req
	Summary string // one line
	Order   string // logged with the one who gave it; empty: a query, which is not logged
	Role    Role   // who may
}

// Stream declares an operation that answers with any number of items, each as soon
// as there is one: a line of JSON each.
type Stream[Req, Item any] Operation[Req, Item]

// TextStream declares an operation that answers with plain text as it comes.
type TextStream[Req any] Operation[Req, string]

// Hold declares an operation whose effect lasts until the one who asked lets go.
type Hold[Req, Resp any] Operation[Req, Resp]

// None is the request or the response of an operation that has none.
type None struct{}

// Kind says how an operation is answered.
type Kind string

// Kinds of operations.
const (
	KindCall Kind = "call"
	KindJSON Kind = "json stream"
	KindText Kind = "text stream"
	KindHold Kind = "hold"
)

// Info is an operation's declaration without its static types.
type Info struct {
	ID, Method, Path, Summary, Order string
	Role                             Role
	Kind                             Kind
	Request, Response                reflect.Type
}

// pattern is the operation's route for http.ServeMux.
func (i Info) pattern() string { return i.Method + " " + Prefix + i.Path }

// Declaration is an operation of any type.
type Declaration interface{ Info() Info }

// Info implements Declaration.
func (o Operation[Req, Resp]) Info() Info { return o.info(KindCall) }

// Info implements Declaration.
func (s Stream[Req, Item]) Info() Info { return Operation[Req, Item](s).info(KindJSON) }

// Info implements Declaration.
func (s TextStream[Req]) Info() Info { return Operation[Req, string](s).info(KindText) }

// Info implements Declaration.
func (h Hold[Req, Resp]) Info() Info { return Operation[Req, Resp](h).info(KindHold) }

func (o Operation[Req, Resp]) info(k Kind) Info {
	return Info{
		ID: o.ID, Method: o.Method, Path: o.Path, Summary: o.Summary, Order: o.Order, Role: o.Role, Kind: k,
		Request: reflect.TypeFor[Req](), Response: reflect.TypeFor[Resp](),
	}
}

// Handler carries an operation out. Handle, HandleStream, HandleText, HandleHold
// and Unavailable make one.
type Handler struct {
	Operation Info
	// serve answers req, a pointer to the operation's request. An error that it
	// returns becomes the answer, unless an answer has begun.
	serve func(ctx context.Context, req any, to sink) error
}

// Handle has do carry an operation out. An error that is the caller's to mend MUST
// be or wrap an *Error with a 4xx Code; every other error is answered as 500.
func Handle[Req, Resp any](o Operation[Req, Resp], do func(context.Context, Req) (Resp, error)) Handler {
	return Handler{o.Info(), func(ctx context.Context, req any, to sink) error {
		v, err := do(ctx, *req.(*Req))
		if err != nil {
			return err
		}
		return to.json(v)
	}}
}

// HandleStream has do pass its items to emit, and return when emit fails.
func HandleStream[Req, Item any](s Stream[Req, Item], do func(ctx context.Context, req Req, emit func(Item) error) error) Handler {
	return Handler{s.Info(), func(ctx context.Context, req any, to sink) error {
		return do(ctx, *req.(*Req), func(item Item) error { return to.item(item) })
	}}
}

// HandleText has do write its text.
func HandleText[Req any](s TextStream[Req], do func(context.Context, Req, io.Writer) error) Handler {
	return Handler{s.Info(), func(ctx context.Context, req any, to sink) error {
		return do(ctx, *req.(*Req), to)
	}}
}

// HandleHold has do begin something; release is called when the one who asked lets
// go, however it ends.
func HandleHold[Req, Resp any](h Hold[Req, Resp], do func(context.Context, Req) (v Resp, release func(), err error)) Handler {
	return Handler{h.Info(), func(ctx context.Context, req any, to sink) error {
		v, release, err := do(ctx, *req.(*Req))
		if err != nil {
			return err
		}
		defer release()
		if err := to.json(v); err != nil {
			return err
		}
		if err := to.flush(); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}}
}

// Unavailable answers an operation with 503 and the reason, such as "dhcp is off in
// the configuration".
func Unavailable(d Declaration, reason string) Handler {
	return Handler{d.Info(), func(context.Context, any, sink) error { return unavailable(d.Info(), reason) }}
}

func unavailable(i Info, reason string) error {
	return &Error{Code: http.StatusServiceUnavailable, Message: fmt.Sprintf("%s is not available: %s", i.ID, reason)}
}
