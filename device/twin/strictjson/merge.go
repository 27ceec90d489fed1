package strictjson

// Merge is RFC 7396: what target becomes under patch. Neither is changed.
func Merge(target, patch Value) Value {
	if patch.kind != Object {
		return patch
	}
	at := make(map[string]int, len(target.members))
	members := make([]Member, 0, len(target.members)+len(patch.members))
	if target.kind == Object {
		for _, m := range target.members {
			at[m.Name] = len(members)
			members = append(members, m)
		}
	}
	removed := false
	for _, m := range patch.members {
		i, known := at[m.Name]
		switch {
		case m.Value.kind == Null:
			if known {
				members[i].Value, removed = Value{}, true
			}
		case known:
			members[i].Value = Merge(members[i].Value, m.Value)
		default:
			at[m.Name] = len(members)
			members = append(members, Member{m.Name, Merge(Value{}, m.Value)})
		}
	}
	if removed {
		kept := members[:0]
		for _, m := range members {
			if m.Value.kind != Absent {
				kept = append(kept, m)
			}
		}
		members = kept
	}
	return Value{kind: Object, members: members}
}

// Join is one patch that does what first and then second would do: like
// Merge, but a null stays, because it still has to delete at the far end. It
// is false when no single patch can say it (a key deleted or overwritten and
// then made an object: the far end would keep what the object held before);
// then the two must be sent one after the other.
func Join(first, second Value) (Value, bool) {
	if second.kind != Object || first.kind != Object {
		return second, second.kind != Object
	}
	at := first.index()
	members := append(make([]Member, 0, len(first.members)+len(second.members)), first.members...)
	for _, m := range second.members {
		i, known := at[m.Name]
		if !known {
			members = append(members, m)
			continue
		}
		if m.Value.kind == Object {
			joined, ok := Join(members[i].Value, m.Value)
			if !ok {
				return Value{}, false
			}
			m.Value = joined
		}
		members[i].Value = m.Value
	}
	return Value{kind: Object, members: members}, true
}

// Diff is a patch that leads from one object to another under Merge; false
// when there is nothing to change.
func Diff(from, to Value) (Value, bool) {
	var members []Member
	before := from.index()
	for _, m := range to.members {
		var old Value
		if i, ok := before[m.Name]; ok {
			old = from.members[i].Value
		}
		switch {
		case old.kind == Object && m.Value.kind == Object:
			if d, changed := Diff(old, m.Value); changed {
				members = append(members, Member{m.Name, d})
			}
		case !Equal(old, m.Value):
			members = append(members, Member{m.Name, m.Value})
		}
	}
	after := to.index()
	for _, m := range from.members {
		if _, stays := after[m.Name]; !stays {
			members = append(members, Member{m.Name, NullValue()})
		}
	}
	return ObjectValue(members...), len(members) > 0
}
