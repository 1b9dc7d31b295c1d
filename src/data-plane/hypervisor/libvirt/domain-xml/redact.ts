import {
  childElements,
  formatXml,
  parseXml,
  readAttribute,
  writeAttribute,
  writeText,
  type XmlElement,
} from './xml-tree.ts';

const HIDDEN = '***';
const SECRET_ATTRIBUTES: readonly string[] = ['passwd', 'password'];
/** Elements whose text is a secret or can hold one, by parent where the name alone is too common. */
const SECRET_TEXTS: readonly string[] = ['session', 'dhCert', 'cookie', 'identity'];
const SUSPICIOUS_ARGUMENT = /passw|secret|token|data=|key/i;

/** The domain XML without what only its owner may read, for people to look at. */
export function redactDomainXml(xml: string): string {
  const document = parseXml(xml);
  redactElement(document.root);
  return formatXml(document);
}

function redactElement(element: XmlElement): void {
  for (const name of SECRET_ATTRIBUTES) {
    if (element.attributes.has(name)) writeAttribute(element, name, HIDDEN);
  }
  // Firmware configuration carries what a guest is provisioned with: keys, user data.
  const isFirmwareData = element.name === 'sysinfo' && readAttribute(element, 'type') === 'fwcfg';
  for (const child of childElements(element)) {
    if (SECRET_TEXTS.includes(child.name) || (isFirmwareData && child.name === 'entry')) {
      writeText(child, HIDDEN);
    } else if (child.name === 'qemu:arg' || child.name === 'qemu:env') {
      const value = readAttribute(child, 'value') ?? '';
      const name = readAttribute(child, 'name') ?? '';
      if (SUSPICIOUS_ARGUMENT.test(value) || SUSPICIOUS_ARGUMENT.test(name)) {
        writeAttribute(child, 'value', HIDDEN);
      }
    } else redactElement(child);
  }
}
