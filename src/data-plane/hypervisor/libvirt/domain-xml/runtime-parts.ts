import {
  childElements,
  findElement,
  readAttribute,
  removeChildren,
  writeAttribute,
  type XmlElement,
} from './xml-tree.ts';

/** Removes what libvirt generated for one run, or would collide with the VM it came from. */
export function dropRuntimeParts(root: XmlElement, suffix: string): void {
  root.attributes.delete('id');
  removeChildren(root, isGeneratedLabel);
  for (const device of childElements(findElement(root, 'devices'))) {
    removeChildren(device, isGeneratedAlias);
    findElement(device, 'source')?.attributes.delete('index');
    if (device.name === 'interface') removeChildren(device, (child) => child.name === 'target');
    if (device.name === 'graphics') freeListeners(device, suffix);
    freeCharacterDevice(device, suffix);
  }
}

/** Aliases that a person chose begin with `ua-`. */
function isGeneratedAlias(child: XmlElement): boolean {
  return child.name === 'alias' && !(readAttribute(child, 'name') ?? '').startsWith('ua-');
}

function isGeneratedLabel(child: XmlElement): boolean {
  return child.name === 'seclabel' && readAttribute(child, 'type') === 'dynamic';
}

const PORT_ATTRIBUTES: readonly string[] = ['port', 'tlsPort', 'websocket', 'websocketGenerated'];

function freeListeners(graphics: XmlElement, suffix: string): void {
  if (PORT_ATTRIBUTES.some((name) => graphics.attributes.has(name))) {
    const hadWebsocket = graphics.attributes.has('websocket');
    for (const name of PORT_ATTRIBUTES) graphics.attributes.delete(name);
    writeAttribute(graphics, 'autoport', 'yes');
    if (hadWebsocket) writeAttribute(graphics, 'websocket', '-1');
  }
  for (const element of [graphics, ...childElements(graphics, 'listen')]) {
    const socket = readAttribute(element, 'socket');
    if (socket !== null) writeAttribute(element, 'socket', uniquePath(socket, suffix));
  }
}

const CHARACTER_DEVICES: readonly string[] = ['serial', 'console', 'parallel', 'channel'];

function freeCharacterDevice(device: XmlElement, suffix: string): void {
  const log = findElement(device, 'log');
  const logPath = readAttribute(log, 'file');
  if (log && logPath !== null) writeAttribute(log, 'file', uniquePath(logPath, suffix));
  if (!CHARACTER_DEVICES.includes(device.name)) return;
  device.attributes.delete('tty');
  const type = readAttribute(device, 'type');
  const target = findElement(device, 'target');
  target?.attributes.delete('state');
  // libvirt gives a channel without a path a socket of its own.
  const isOwnChannel = device.name === 'channel' && readAttribute(target, 'type') === 'virtio';
  if (type === 'pty' || (type === 'unix' && isOwnChannel)) {
    removeChildren(device, (child) => child.name === 'source');
    return;
  }
  const source = findElement(device, 'source');
  const path = readAttribute(source, 'path');
  if (source && path !== null && (type === 'file' || type === 'unix')) {
    writeAttribute(source, 'path', uniquePath(path, suffix));
  }
}

/** `/log/a.txt` for the VM `b` becomes `/log/a-b.txt`. */
function uniquePath(path: string, suffix: string): string {
  const safe = suffix.replaceAll(/[/\0]/g, '_');
  const slash = path.lastIndexOf('/');
  const dot = path.lastIndexOf('.');
  return dot > slash + 1 ? `${path.slice(0, dot)}-${safe}${path.slice(dot)}` : `${path}-${safe}`;
}
