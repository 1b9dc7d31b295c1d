import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { OperationError } from '../../shared/errors.ts';
import { buildSaveImageHead, parseSaveImageHeader, parseSaveImageXml } from './save-image.ts';

const HEADER = 92;

describe('libvirt save image', () => {
  test('the bytes of a head', () => {
    const head = Buffer.from(buildSaveImageHead('<日/>', { wasRunning: true }));
    assert.equal(head.length, 4096);
    const expected = Buffer.concat([
      Buffer.from('LibvirtQemudSave'),
      Buffer.from('02000000', 'hex'), // version
      Buffer.from('a40f0000', 'hex'), // 4096 - 92 bytes of data
      Buffer.from('01000000', 'hex'), // was running
      Buffer.from('00000000', 'hex'), // not compressed
      Buffer.from('00000000', 'hex'), // no cookie
      Buffer.alloc(14 * 4),
      Buffer.from('<日/>'),
    ]);
    assert.deepEqual(head.subarray(0, expected.length), expected);
    assert.ok(head.subarray(expected.length).every((byte) => byte === 0));
  });

  test('what is built is read back, and the stream begins at a multiple of 4096', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', maxLength: 5000 }).map((text) => text.replaceAll('\0', '')),
        fc.boolean(),
        (xml, wasRunning) => {
          const head = buildSaveImageHead(xml, { wasRunning });
          assert.equal(head.length % 4096, 0);
          const header = parseSaveImageHeader(head);
          assert.equal(header.wasRunning, wasRunning);
          assert.equal(header.format, 'raw');
          assert.equal(HEADER + header.dataBytes, head.length);
          assert.equal(parseSaveImageXml(header, head.subarray(HEADER)), xml.toWellFormed());
        },
      ),
    );
  });

  test('an image of a host with the other byte order', () => {
    const head = Buffer.from(buildSaveImageHead('<d/>', { wasRunning: false }));
    head.subarray(16, HEADER).swap32();
    const header = parseSaveImageHeader(head);
    assert.ok(header.bigEndian);
    assert.equal(parseSaveImageXml(header, head.subarray(HEADER)), '<d/>');
  });

  test('damaged images are refused', () => {
    const change = (at: number, value: number): Buffer => {
      const head = Buffer.from(buildSaveImageHead('<d/>', { wasRunning: true }));
      head.writeUInt32LE(value, at);
      return head;
    };
    const incomplete = Buffer.from(buildSaveImageHead('<d/>', { wasRunning: true }));
    incomplete.write('LibvirtQemudPart');
    const wrong = [
      incomplete,
      change(0, 1),
      change(16, 3),
      change(20, 0),
      change(20, 0xffffffff),
      change(28, 9),
      change(32, 0x10000),
      Buffer.alloc(91),
    ];
    for (const bytes of wrong) {
      assert.throws(
        () => parseSaveImageHeader(bytes),
        (error) => error instanceof OperationError && error.code === 'protocol_error',
      );
    }
    const header = parseSaveImageHeader(buildSaveImageHead('x', { wasRunning: true }));
    for (const data of [
      Buffer.alloc(10),
      Buffer.alloc(5000, 1),
      Buffer.alloc(5000, 0xff).fill(0, 1),
    ]) {
      assert.throws(() => parseSaveImageXml(header, data), OperationError);
    }
  });
});
