import { describeHypervisorConformance } from '../../src/data-plane/hypervisor/conformance.test-suite.ts';
import { createLibvirtHarness } from './libvirt-harness.ts';

describeHypervisorConformance('libvirt', createLibvirtHarness);
