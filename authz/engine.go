package authz

import "sync/atomic"

// Engine holds the current index. Readers take Index once for each question
// and never block; one writer at a time derives the next index and swaps it.
type Engine struct {
	current atomic.Pointer[Index]
}

// NewEngine returns an engine that denies everything (NoPolicy) until the
// first Swap.
func NewEngine() *Engine {
	e := new(Engine)
	e.current.Store(empty())
	return e
}

// Index is the current policy; never nil.
func (e *Engine) Index() *Index { return e.current.Load() }

// Swap makes ix the current policy. Questions that have begun end on the old one.
func (e *Engine) Swap(ix *Index) { e.current.Store(ix) }
