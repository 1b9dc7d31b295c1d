import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { OperationError } from '../../../../shared/errors.ts';
import { PC_XML, Q35_XML, withSingleQuotes } from './domain-fixtures.ts';
import {
  createElement,
  decodeEntities,
  encodeEntities,
  findElement,
  formatXml,
  parseXml,
  putChild,
  readAttribute,
  readText,
  removeChildren,
  type XmlNode,
} from './xml-tree.ts';

const isProtocolError = (error: unknown): boolean =>
  error instanceof OperationError && error.code === 'protocol_error';

const nameArbitrary = fc
  .tuple(
    fc.constantFrom('a', 'domain', 'qemu:arg', '名前', '_x', 'constructor', 'toString'),
    fc.nat(99),
  )
  .map(([name, number]) => `${name}${number}`);
const textArbitrary = fc
  .string({ unit: fc.constantFrom('a', ' ', '\n', '&', '<', '>', '"', "'", '日', '🎞', ']', '-') })
  .map(encodeEntities);

const nodeArbitrary = fc.letrec<{ node: XmlNode; element: XmlNode }>((tie) => ({
  element: fc.record({
    kind: fc.constant('element' as const),
    name: nameArbitrary,
    attributes: fc
      .dictionary(nameArbitrary, textArbitrary, { maxKeys: 3 })
      .map((record) => new Map(Object.entries(record))),
    children: fc.array(tie('node'), { maxLength: 4, depthIdentifier: 'xml' }),
  }),
  node: fc.oneof(
    { depthIdentifier: 'xml', maxDepth: 4 },
    fc.record({
      kind: fc.constant('text' as const),
      text: textArbitrary.filter((text) => text !== ''),
    }),
    fc.record({
      kind: fc.constant('comment' as const),
      text: fc.string({ unit: fc.constantFrom('a', ' ', '<', '&', '日') }),
    }),
    fc.record({
      kind: fc.constant('cdata' as const),
      text: fc.string({ unit: fc.constantFrom('a', ' ', '<', '&', '"', '日') }),
    }),
    tie('element'),
  ),
}));

describe('xml tree', () => {
  test('libvirt documents come back unchanged', () => {
    assert.equal(formatXml(parseXml(Q35_XML)), Q35_XML);
    const again = formatXml(parseXml(PC_XML));
    assert.equal(again, withSingleQuotes(PC_XML));
    assert.equal(formatXml(parseXml(again)), again);
  });

  test('formatting and parsing again gives the same document, whatever is in it', () => {
    fc.assert(
      fc.property(nodeArbitrary.element, (element) => {
        if (element.kind !== 'element') return;
        const text = formatXml({ nodes: [element], root: element });
        assert.equal(formatXml(parseXml(text)), text);
      }),
      { numRuns: 300 },
    );
  });

  test('what a name or path needs survives encoding and decoding', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        assert.equal(decodeEntities(encodeEntities(text)), text);
      }),
    );
    assert.equal(
      decodeEntities('&#x65e5;&#26412; &unknown; &#x110000;'),
      '日本 &unknown; &#x110000;',
    );
  });

  test('document types, broken and oversized documents are refused', () => {
    const bomb = `<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><domain>&b;</domain>`;
    const broken = ['', 'text', '<domain>', '<a></b>', '<a/><b/>', '<a x=1/>', '<a x="1" x="2"/>'];
    for (const xml of [bomb, ...broken, `<a>${'x'.repeat(4 << 20)}</a>`, '<a>'.repeat(5000)]) {
      assert.throws(() => parseXml(xml), isProtocolError, xml.slice(0, 40));
    }
    assert.ok(parseXml('<a><!-- <!DOCTYPE x> --></a>'));
  });

  test('arbitrary input is either a document or a protocol error', () => {
    const soup = fc.string({
      unit: fc.constantFrom(
        '<',
        '>',
        '/',
        'a',
        '=',
        '"',
        "'",
        '&',
        '!',
        '-',
        '[',
        ']',
        '?',
        ' ',
        ';',
      ),
      maxLength: 60,
    });
    const mutated = fc
      .tuple(fc.nat(PC_XML.length), fc.nat(20), soup)
      .map(([at, cut, insert]) => PC_XML.slice(0, at) + insert + PC_XML.slice(at + cut));
    fc.assert(
      fc.property(fc.oneof(soup, mutated), (xml) => {
        try {
          parseXml(xml);
        } catch (error) {
          assert.ok(isProtocolError(error), String(error));
        }
      }),
      { numRuns: 500 },
    );
  });

  test('editing keeps the layout', () => {
    const document = parseXml(`<a>\n  <b/>\n  <c k='1'/>\n  <b/>\n</a>`);
    removeChildren(document.root, (child) => child.name === 'b');
    putChild(document.root, createElement('d', { v: `it's "x" & <y>` }));
    assert.equal(
      formatXml(document),
      `<a>\n  <c k='1'/>\n  <d v='it&apos;s &quot;x&quot; &amp; &lt;y&gt;'/>\n</a>`,
    );
    assert.equal(readAttribute(findElement(document.root, 'd'), 'v'), `it's "x" & <y>`);
    assert.equal(readText(findElement(document.root, 'd')), null);
  });
});
