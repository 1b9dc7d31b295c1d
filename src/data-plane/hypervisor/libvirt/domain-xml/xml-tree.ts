import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { MIB } from '../../../../shared/byte-size.ts';
import { describeThrown, OperationError } from '../../../../shared/errors.ts';

/** Attribute values and texts are kept as they stand in the document, entities unexpanded. */
export interface XmlElement {
  readonly kind: 'element';
  readonly name: string;
  readonly attributes: Map<string, string>;
  children: XmlNode[];
}

interface XmlLeaf {
  readonly kind: 'text' | 'cdata' | 'comment' | 'instruction';
  readonly text: string;
}

export type XmlNode = XmlElement | XmlLeaf;

export interface XmlDocument {
  readonly nodes: XmlNode[];
  readonly root: XmlElement;
}

export const XML_LIMIT_BYTES = 4 * MIB;
const DEPTH_LIMIT = 512;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  parseTagValue: false,
  parseAttributeValue: false,
  trimValues: false,
  processEntities: false,
  commentPropName: '#comment',
  cdataPropName: '#cdata',
  maxNestedTags: DEPTH_LIMIT,
});

/** Throws OperationError `protocol_error` for what is not a well-formed document of a sane size. */
export function parseXml(xml: string): XmlDocument {
  if (Buffer.byteLength(xml) > XML_LIMIT_BYTES) {
    throw malformed(`it is larger than ${XML_LIMIT_BYTES / MIB} MiB`);
  }
  const text = xml.startsWith('\uFEFF') ? xml.slice(1) : xml;
  if (hasDeclaration(text)) {
    throw malformed('it has a document type declaration, which libvirt never writes');
  }
  const nodes = parseNodes(text);
  const roots = nodes.filter((node) => node.kind === 'element');
  const [root] = roots;
  if (root === undefined || roots.length !== 1) throw malformed('it has not exactly one root');
  // The parser drops white space behind the root; libvirt ends its documents with a line feed.
  const tail = text.slice(text.trimEnd().length);
  if (tail !== '') nodes.push({ kind: 'text', text: tail });
  return { nodes, root };
}

function parseNodes(text: string): XmlNode[] {
  let parsed: unknown;
  try {
    const validity = XMLValidator.validate(text);
    if (validity !== true) throw malformed(`line ${validity.err.line}: ${validity.err.code}`);
    parsed = parser.parse(text);
  } catch (error) {
    if (error instanceof OperationError) throw error;
    throw malformed(describeThrown(error), error);
  }
  return decodeNodes(parsed, 0);
}

/** A declaration that stands in a comment or CDATA is text. One pass, whatever the input. */
function hasDeclaration(text: string): boolean {
  let at = text.indexOf('<!');
  while (at >= 0) {
    const end = text.startsWith('<!--', at) ? '-->' : text.startsWith('<![CDATA[', at) ? ']]>' : '';
    if (end === '') return true;
    const close = text.indexOf(end, at);
    // The validator finds what is not closed.
    if (close < 0) return false;
    at = text.indexOf('<!', close);
  }
  return false;
}

function malformed(why: string, cause?: unknown): OperationError {
  return new OperationError(
    'protocol_error',
    `The domain XML cannot be read: ${why}.`,
    cause === undefined ? {} : { cause },
  );
}

function decodeNodes(value: unknown, depth: number): XmlNode[] {
  if (!Array.isArray(value)) throw malformed('its structure is not a list of nodes');
  if (depth > DEPTH_LIMIT) throw malformed(`it nests deeper than ${DEPTH_LIMIT} elements`);
  const items: unknown[] = value;
  return items.map((item) => decodeNode(item, depth));
}

function decodeNode(value: unknown, depth: number): XmlNode {
  if (typeof value !== 'object' || value === null) throw malformed('it has an unknown node');
  const entries = new Map<string, unknown>(Object.entries(value));
  const attributes = decodeAttributes(entries.get(':@'));
  entries.delete(':@');
  const [entry] = entries;
  if (entry === undefined) throw malformed('it has an empty node');
  const [name, content] = entry;
  if (name === '#text') return { kind: 'text', text: String(content) };
  if (name === '#comment' || name === '#cdata') {
    const text = decodeNodes(content, depth + 1)
      .map((node) => (node.kind === 'text' ? node.text : ''))
      .join('');
    return { kind: name === '#comment' ? 'comment' : 'cdata', text };
  }
  if (name.startsWith('?')) {
    return { kind: 'instruction', text: name.slice(1) + formatAttributes(attributes) };
  }
  return { kind: 'element', name, attributes, children: decodeNodes(content, depth + 1) };
}

function decodeAttributes(value: unknown): Map<string, string> {
  if (typeof value !== 'object' || value === null) return new Map();
  return new Map(Object.entries(value).map(([name, text]) => [name, String(text)]));
}

export function formatXml(document: XmlDocument): string {
  const parts: string[] = [];
  for (const node of document.nodes) formatNode(node, parts);
  return parts.join('');
}

function formatNode(node: XmlNode, parts: string[]): void {
  switch (node.kind) {
    case 'text':
      parts.push(node.text);
      return;
    case 'cdata':
      parts.push(`<![CDATA[${node.text}]]>`);
      return;
    case 'comment':
      parts.push(`<!--${node.text}-->`);
      return;
    case 'instruction':
      parts.push(`<?${node.text}?>`);
      return;
    case 'element':
      parts.push(`<${node.name}${formatAttributes(node.attributes)}`);
      if (node.children.length === 0) {
        parts.push('/>');
        return;
      }
      parts.push('>');
      for (const child of node.children) formatNode(child, parts);
      parts.push(`</${node.name}>`);
  }
}

function formatAttributes(attributes: Map<string, string>): string {
  let text = '';
  for (const [name, value] of attributes) text += ` ${name}='${value.replaceAll("'", '&apos;')}'`;
  return text;
}

const NAMED_ENTITIES: ReadonlyMap<string, string> = new Map([
  ['amp', '&'],
  ['lt', '<'],
  ['gt', '>'],
  ['quot', '"'],
  ['apos', "'"],
]);

/** XML 1.0 section 4.6: only the predefined entities exist without a document type. */
export function decodeEntities(raw: string): string {
  if (!raw.includes('&')) return raw;
  return raw.replaceAll(
    /&(?:#x([0-9a-fA-F]{1,6})|#([0-9]{1,7})|(\w+));/g,
    (whole, hex: string | undefined, decimal: string | undefined, name: string | undefined) => {
      if (name !== undefined) return NAMED_ENTITIES.get(name) ?? whole;
      const point = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
      return point <= 0x10ffff ? String.fromCodePoint(point) : whole;
    },
  );
}

export function encodeEntities(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&apos;');
}

export function childElements(element: XmlElement | undefined, name?: string): XmlElement[] {
  if (element === undefined) return [];
  return element.children.filter(
    (node): node is XmlElement =>
      node.kind === 'element' && (name === undefined || node.name === name),
  );
}

/** The first element at a path of names below `element`. */
export function findElement(
  element: XmlElement | undefined,
  ...path: readonly string[]
): XmlElement | undefined {
  let current = element;
  for (const name of path) {
    current = current?.children.find(
      (node): node is XmlElement => node.kind === 'element' && node.name === name,
    );
  }
  return current;
}

export function readAttribute(element: XmlElement | undefined, name: string): string | null {
  const raw = element?.attributes.get(name);
  return raw === undefined ? null : decodeEntities(raw);
}

/** Text directly below the element, trimmed; null when there is none. */
export function readText(element: XmlElement | undefined): string | null {
  if (element === undefined) return null;
  let text = '';
  for (const node of element.children) {
    if (node.kind === 'text') text += decodeEntities(node.text);
    else if (node.kind === 'cdata') text += node.text;
  }
  const trimmed = text.trim();
  return trimmed === '' ? null : trimmed;
}

export function writeAttribute(element: XmlElement, name: string, value: string): void {
  element.attributes.set(name, encodeEntities(value));
}

export function writeText(element: XmlElement, value: string): void {
  element.children = [{ kind: 'text', text: encodeEntities(value) }];
}

export function createElement(
  name: string,
  attributes: Readonly<Record<string, string>> = {},
  children: XmlNode[] = [],
): XmlElement {
  const element: XmlElement = { kind: 'element', name, attributes: new Map(), children };
  for (const [key, value] of Object.entries(attributes)) writeAttribute(element, key, value);
  return element;
}

/** Removes child elements with the white space before them. */
export function removeChildren(element: XmlElement, matches: (child: XmlElement) => boolean): void {
  const kept: XmlNode[] = [];
  for (const node of element.children) {
    if (node.kind === 'element' && matches(node)) {
      const before = kept.at(-1);
      if (before?.kind === 'text' && before.text.trim() === '') kept.pop();
    } else kept.push(node);
  }
  element.children = kept;
}

/** Replaces the first child of that name, or adds it before the closing tag's indentation. */
export function putChild(element: XmlElement, child: XmlElement): void {
  const index = element.children.findIndex(
    (node) => node.kind === 'element' && node.name === child.name,
  );
  if (index >= 0) {
    element.children[index] = child;
    return;
  }
  const last = element.children.at(-1);
  const indented = last?.kind === 'text' && last.text.trim() === '';
  const position = indented ? element.children.length - 1 : element.children.length;
  const space: XmlNode[] = indented ? [{ kind: 'text', text: `${last.text}  ` }] : [];
  element.children.splice(position, 0, ...space, child);
}
