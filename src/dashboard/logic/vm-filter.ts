import type { Vm } from '../../contract/vms.ts';

export interface VmFilter {
  readonly search: string;
  /** Empty: any. */
  readonly state: string;
  /** `key=value`; empty: any. */
  readonly label: string;
  readonly gone: boolean;
}

export const labelsOf = (labels: Readonly<Record<string, string>>): string[] =>
  Object.entries(labels).map(([key, value]) => (value === '' ? key : `${key}=${value}`));

export function filterVms(vms: readonly Vm[], filter: VmFilter): Vm[] {
  const words = filter.search.toLowerCase().split(/\s+/).filter(Boolean);
  return vms
    .filter((vm) => {
      const labels = labelsOf(vm.labels);
      const text = [vm.name, vm.host.name, ...labels].join(' ').toLowerCase();
      return (
        (filter.gone || vm.present) &&
        (filter.state === '' || vm.state === filter.state) &&
        (filter.label === '' || labels.includes(filter.label)) &&
        words.every((word) => text.includes(word))
      );
    })
    .sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}
