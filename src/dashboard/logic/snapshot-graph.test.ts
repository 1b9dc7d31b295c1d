import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { SnapshotState } from '../../contract/snapshots.ts';
import { layOutSnapshots } from './snapshot-graph.ts';

const node = (
  id: string,
  hour: number,
  parentSnapshotId: string | null,
  state: SnapshotState = 'active',
) => {
  const at = new Date(Date.UTC(2026, 0, 1, hour)).toISOString();
  return { id, state, parentSnapshotId, capturedAt: at, createdAt: at };
};

const draw = (graph: ReturnType<typeof layOutSnapshots>): string[] =>
  graph.rows.map(
    (row) =>
      `${row.snapshot?.id ?? 'now'}@${row.lane}` +
      (row.joins.length > 0 ? ` joins ${row.joins.join()}` : '') +
      (row.passing.length > 0 ? ` past ${row.passing.join()}` : '') +
      (row.continuesDown ? ' down' : ''),
  );

test('a rollback makes a second line that joins where it left', () => {
  const snapshots = [node('a', 1, null), node('b', 2, 'a'), node('c', 3, 'b'), node('d', 4, 'b')];
  assert.deepEqual(draw(layOutSnapshots(snapshots, 'd', true)), [
    'now@0 down',
    'd@0 down',
    'c@1 past 0 down',
    'b@0 joins 1 down',
    'a@0',
  ]);
});

test('a deleted snapshot is bridged', () => {
  const snapshots = [node('a', 1, null), node('b', 2, 'a', 'deleted'), node('c', 3, 'b')];
  assert.deepEqual(draw(layOutSnapshots(snapshots, 'b', true)), [
    'now@0 down',
    'c@1 past 0 down',
    'a@0 joins 1',
  ]);
});

test('wrong descent neither hangs nor draws upwards', () => {
  const snapshots = [node('a', 1, 'b'), node('b', 2, 'a'), node('x', 3, 'x'), node('y', 4, 'gone')];
  assert.deepEqual(draw(layOutSnapshots(snapshots, 'nowhere', false)), [
    'y@0',
    'x@0',
    'b@0 down',
    'a@0',
  ]);
});

test('every snapshot has one row, and every line that goes down arrives', () => {
  const shape = fc.array(fc.record({ parent: fc.nat(60), deleted: fc.boolean() }), {
    maxLength: 40,
  });
  fc.assert(
    fc.property(shape, fc.nat(40), (items, current) => {
      const snapshots = items.map(({ parent, deleted }, index) =>
        node(`s${index}`, index, `s${parent}`, deleted ? 'deleted' : 'active'),
      );
      const { rows, laneCount } = layOutSnapshots(snapshots, `s${current}`, true);
      const shown = snapshots.filter(({ state }) => state !== 'deleted').length;
      assert.equal(rows.length, shown + 1);
      let open = new Set<number>();
      for (const row of rows) {
        for (const lane of row.joins) assert.ok(open.has(lane));
        assert.equal(open.has(row.lane), row.continuesUp);
        const rest = [...open].filter((lane) => lane !== row.lane && !row.joins.includes(lane));
        assert.deepEqual(
          [...row.passing].sort((a, b) => a - b),
          rest.sort((a, b) => a - b),
        );
        open = new Set(row.passing);
        if (row.continuesDown) open.add(row.lane);
        for (const lane of open) assert.ok(lane < laneCount);
      }
      assert.equal(open.size, 0);
    }),
  );
});
