package store

// Version is the version of the stored generation.
func (c *Cache) Version() (epoch, number uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head == nil {
		return 0, 0, false
	}
	return c.head.Version.Epoch, c.head.Version.Number, true
}

// MarkDirty notes, in disk space allocated beforehand, that memory is ahead of the
// disk: a loss of rights was applied that could not be stored. It works on a
// full disk and survives a power cut.
func (c *Cache) MarkDirty(reason string) error {
	c.level.Store(false)
	if err := c.dirty.put([]byte("!"+reason), true); err != nil {
		return &Error{Op: "mark dirty", Path: c.dir, Err: err}
	}
	return nil
}

// ClearDirty removes the mark, after a delta has stored what was missing.
// WriteGeneration calls it itself.
func (c *Cache) ClearDirty() error {
	if err := c.dirty.put(nil, true); err != nil {
		return &Error{Op: "clear dirty mark", Path: c.dir, Err: err}
	}
	return nil
}

// Dirty tells whether the mark is set, and why. If it is set at start, the stored policy counts as
// expired until a full synchronisation.
func (c *Cache) Dirty() (reason string, dirty bool) {
	v := c.dirty.get()
	if len(v) == 0 || c.level.Load() {
		return "", false
	}
	return string(v[1:]), true
}

func (c *Cache) quarantined() []Quarantine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Quarantine(nil), c.aside...)
}

func (c *Cache) records() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base.records()
}

func (c *Cache) now() *base {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base
}

func (c *Cache) measure() { c.now().measure() }

func (c *Cache) collect() {
	b := c.now()
	b.collect()
	protect(b.dir)
}

func (c *Cache) close() error {
	for _, s := range [...]*slots{c.dirty, c.clock} {
		if s != nil {
			s.close()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base == nil {
		return nil
	}
	return c.base.close()
}
