/** What each recipe needs to be tried: settings, programs of its image, packages, and what its halves are to call. */
import { createHash } from 'node:crypto';
import { PROGRAM } from './sandbox.ts';
import type { Sandbox } from './sandbox.ts';

/** Everything that a shell, a unit file, JSON or YAML might take for more than text. */
export const WILD = `it's "q" $(touch /tmp/ran) \`id\` $HOME %h \\ end`;
export const DOWNLOAD = 'a program from far away';
export const SHA256 = createHash('sha256').update(DOWNLOAD).digest('hex');

export interface RecipeCase {
  readonly settings: Readonly<Record<string, string>>;
  /** One that must be set; null = none must. */
  readonly required: string | null;
  /** A value of many signs, and where all of it must be found. */
  readonly wild: {
    readonly settings: Readonly<Record<string, string>>;
    readonly file: string;
    readonly found: string;
  } | null;
  /** Calls of the machine's halves, by half. */
  readonly halves: Readonly<Record<string, readonly string[]>>;
  readonly prepare: (sandbox: Sandbox) => void;
}

const escaped = (text: string) => text.replaceAll(/[\\"`$]/g, String.raw`\$&`);
const lines = `${WILD}\nsecond "line"\n`;

function kubernetes(kubectl: string, unit: string): RecipeCase['halves'] {
  const call = (words: string) => (kubectl === 'kubectl' ? `kubectl ${words}` : `k3s [kubectl] ${words}`);
  const runs = kubectl === 'kubectl' ? '[kubectl]' : '[ROOT/usr/local/bin/k3s] [kubectl]';
  return {
    drain: [
      call('[cordon] [node-7] [--request-timeout=60s]'),
      'systemctl [is-active] [--quiet] [spillway-evict.service]',
      `systemd-run [--quiet] [--collect] [--unit=spillway-evict] [--property=Restart=on-failure] [--property=RestartSec=30] ` +
        `[--setenv=KUBECONFIG=ROOT/etc/spillway/kubeconfig] ${runs} [drain] [node-7] [--ignore-daemonsets] ` +
        '[--delete-emptydir-data] [--pod-selector=!job-name]',
    ],
    leave: [
      call('[cordon] [node-7] [--request-timeout=60s]'),
      `systemctl [stop] [${unit}]`,
      call('[delete] [node] [node-7] [--ignore-not-found] [--wait=false] [--request-timeout=60s]'),
    ],
  };
}

const KUBECTL_ANSWER = `case "$*" in
  *'get node '*) echo True ;;
  *'get pods'*) printf 'pod DaemonSet\\npod Job\\npod \\npod Node\\npod ReplicaSet\\n' ;;
esac`;

const MESOS_CALL =
  'curl [-q] [-fsSL] [--max-time] [60] [-K] [ROOT/etc/spillway/mesos.curl] [-H] [Content-Type: application/json] [--data-binary] [@-] ' +
  '[http://m1:5050/api/v1]';

export const CASES: Readonly<Record<string, RecipeCase>> = {
  agent: {
    settings: { PACKAGES: 'ffmpeg imagemagick', PROGRAMS: '/usr/bin/ffmpeg' },
    required: null,
    wild: null,
    halves: {},
    prepare: (sandbox) => {
      sandbox.give('ffmpeg', '', 'packaged');
      sandbox.give(
        'apt-get',
        `[ ! -e "$FAKES/away" ] || exit 100
case " $* " in *' install '*) for word; do echo "$word" >>"$FAKES/installed"; done
mkdir -p "$DESTDIR/usr/bin"; : >"$DESTDIR/usr/bin/ffmpeg"; chmod 755 "$DESTDIR/usr/bin/ffmpeg" ;; esac`,
      );
    },
  },
  slurm: {
    settings: { SLURM_CONTROLLER: 'ctl-1:6817,ctl-2', MUNGE_KEY: Buffer.from('a key\0\n').toString('base64') },
    required: 'MUNGE_KEY',
    wild: {
      settings: { SLURM_NODE_CONF: WILD },
      file: 'etc/spillway/slurmd.env',
      found: `SLURM_NODE_CONF="${escaped(WILD)}"\n`,
    },
    halves: {
      ready: ['sinfo [-h] [-N] [-n] [Node-7] [-o] [%t]'],
      drain: ['scontrol [update] [NodeName=Node-7] [State=DRAIN] [Reason=Spillway lets the machine go]'],
      leave: [
        'scontrol [ping]',
        'scontrol [show] [node] [Node-7]',
        'scontrol [update] [NodeName=Node-7] [State=DRAIN] [Reason=Spillway lets the machine go]',
        'scontrol [delete] [NodeName=Node-7]',
        'systemctl [stop] [slurmd.service]',
      ],
      probe: ['squeue [-h] [-r] [-w] [Node-7] [-t] [RUNNING,SUSPENDED,COMPLETING,CONFIGURING,STAGE_OUT] [-o] [%A]'],
    },
    prepare: (sandbox) => {
      for (const program of ['slurmd', 'munged']) sandbox.give(program, '', 'packaged');
      sandbox.give('sinfo', 'echo idle');
      sandbox.give('squeue', 'printf "4711\\n4712\\n4713\\n"');
      sandbox.give('scontrol', 'case $1 in ping) echo "Slurmctld(primary) at ctl-1 is UP" ;; esac');
    },
  },
  nomad: {
    settings: { NOMAD_SERVERS: 'n1,n2:4647', NOMAD_VERSION: '1.9.3', NOMAD_SHA256: SHA256, NOMAD_TOKEN: "t'1" },
    required: 'NOMAD_SERVERS',
    wild: { settings: { NOMAD_CONFIG: lines }, file: 'etc/spillway/nomad/more.hcl', found: lines },
    halves: {
      ready: ['nomad [operator] [api] [-X] [GET] [/v1/node/n-1]'],
      drain: ['nomad [node] [drain] [-enable] [-self] [-no-deadline] [-ignore-system] [-detach] [-yes]'],
      leave: ['nomad [node] [eligibility] [-disable] [-self]', 'systemctl [stop] [nomad.service]'],
      probe: [
        'nomad [operator] [api] [-X] [GET] [-filter] [NodeID == "n-1" and (ClientStatus == "running" or ClientStatus == "pending")] ' +
          '[/v1/allocations?namespace=*]',
      ],
    },
    prepare: (sandbox) => {
      sandbox.serve(DOWNLOAD);
      sandbox.put('var/lib/nomad/client/client-id', 'n-1');
      const nomad = `[ "$NOMAD_TOKEN" = "t'1" ] || exit 1
case "$*" in
  *allocations*) printf '[{"ID":"a","JobType":"service"},{"JobType":"system"},{"JobType":"batch"},{"JobType":"batch"}]' ;;
  */v1/node/*) printf '{"ID":"n-1","SchedulingEligibility":"eligible","Status":"ready"}' ;;
esac`;
      sandbox.give('nomad', nomad);
      sandbox.give('unzip', 'cat "$FAKES/bin/nomad"');
    },
  },
  mesos: {
    settings: {
      MESOS_MASTER: 'zk://z1:2181/mesos',
      MESOS_API: 'http://m1:5050',
      MESOS_API_USER: String.raw`ops:p"w\d`,
      MESOS_PACKAGE_URL: 'https://mirror.example/mesos.deb',
      MESOS_PACKAGE_SHA256: SHA256,
    },
    required: 'MESOS_MASTER',
    wild: {
      settings: { MESOS_ATTRIBUTES: WILD },
      file: 'etc/spillway/mesos-agent.env',
      found: `MESOS_ATTRIBUTES="${escaped(WILD)}"\n`,
    },
    halves: {
      drain: [MESOS_CALL],
      leave: [MESOS_CALL, MESOS_CALL, 'systemctl [stop] [mesos-agent.service]'],
      probe: [
        'curl [-q] [-fsS] [--max-time] [4] [-K] [ROOT/etc/spillway/mesos.curl] [http://127.0.0.1:5051/metrics/snapshot]',
      ],
    },
    prepare: (sandbox) => {
      sandbox.serve(DOWNLOAD);
      sandbox.give('mesos-agent', '', 'packaged');
      sandbox.link('var/lib/mesos/meta/slaves/latest', '/var/lib/mesos/meta/slaves/a-1');
      const tasks = { running: 1, staging: 0, starting: 2, finished: 9 };
      const metrics = JSON.stringify(
        Object.fromEntries(Object.entries(tasks).map(([k, n]) => [`slave/tasks_${k}`, n])),
      );
      sandbox.give(
        'curl',
        `case "$*" in
  *snapshot*) printf '%s' '${metrics.replaceAll('/', String.raw`\/`)}' ;;
  *api/v1*) cat >>"$FAKES/posted" ;;
  *) [ ! -e "$FAKES/away" ] || exit 6; while [ "$1" != -o ]; do shift; done; cat "$FAKES/web" >"$2" ;;
esac`,
      );
    },
  },
  kubeadm: {
    settings: {
      KUBE_API_SERVER: 'k8s:6443',
      KUBE_TOKEN: 'abcdef.0123456789abcdef',
      KUBE_CA_HASH: `sha256:${SHA256}`,
      KUBE_DRAINER: 'kubeconfig',
      KUBE_VERSION: '1.31',
      KUBE_KEY_SHA256: SHA256,
      KUBE_LABELS: 'site=cloud',
    },
    required: 'KUBE_CA_HASH',
    wild: { settings: { KUBE_DRAINER: lines }, file: 'etc/spillway/kubeconfig', found: lines },
    halves: kubernetes('kubectl', 'kubelet.service'),
    prepare: (sandbox) => {
      sandbox.serve(DOWNLOAD);
      for (const program of ['kubelet', 'containerd', 'kubectl', 'kubeadm']) sandbox.give(program, '', 'packaged');
      for (const program of ['apt-mark', 'modprobe', 'sysctl', 'swapoff', 'systemd-run']) sandbox.give(program);
      sandbox.give('kubectl', KUBECTL_ANSWER, 'packaged');
      sandbox.give('containerd', "echo '  SystemdCgroup = false'", 'packaged');
      sandbox.give(
        'kubeadm',
        `case $1 in
  config) printf 'apiVersion: kubeadm.k8s.io/v1beta4\\nkind: JoinConfiguration\\n' ;;
  join) cp "$3" "$FAKES/joined"; mkdir -p "$DESTDIR/etc/kubernetes"; : >"$DESTDIR/etc/kubernetes/kubelet.conf" ;;
esac`,
        'packaged',
      );
    },
  },
  k3s: {
    settings: {
      K3S_URL: 'https://k3s:6443',
      K3S_TOKEN: 'K10abc',
      KUBE_DRAINER: 'kubeconfig',
      K3S_VERSION: 'v1.31.4+k3s1',
      K3S_SHA256: createHash('sha256').update(PROGRAM).digest('hex'),
      K3S_LABELS: 'site=cloud,pool=render',
    },
    required: 'K3S_URL',
    wild: { settings: { K3S_TOKEN: WILD }, file: 'etc/spillway/k3s-token', found: `${WILD}\n` },
    halves: kubernetes('k3s kubectl', 'k3s-agent.service'),
    prepare: (sandbox) => {
      // The program that is fetched is one that writes down how it is called.
      sandbox.serve(PROGRAM);
      sandbox.give('systemd-run');
      sandbox.give('k3s', KUBECTL_ANSWER);
    },
  },
  docker: {
    settings: {},
    required: null,
    wild: { settings: { DOCKER_DAEMON_JSON: lines }, file: 'etc/docker/daemon.json', found: lines },
    halves: {
      ready: ['docker [version] [--format] [{{.Server.Version}}]'],
      drain: [],
      leave: ['docker [ps] [-q]', 'docker [stop] [-t] [30] [c1] [c2] [c3]'],
      probe: ['docker [ps] [-q]', 'docker [ps] [-q] [--filter] [label=spillway.task=false]'],
    },
    prepare: (sandbox) => {
      sandbox.give('dockerd', '', 'packaged');
      sandbox.give('docker', 'case "$*" in *label*) echo c3 ;; ps*) printf "c1\\nc2\\nc3\\n" ;; esac', 'packaged');
    },
  },
  puppet: {
    settings: { PUPPET_SERVER: 'puppet.example' },
    required: 'PUPPET_SERVER',
    wild: {
      settings: { PUPPET_CHALLENGE: WILD },
      file: 'etc/puppet/csr.yaml',
      found: `'${WILD.replaceAll("'", "''")}'\n`,
    },
    halves: {
      drain: [puppetRun('draining')],
      leave: [puppetRun('leaving')],
    },
    prepare: (sandbox) =>
      sandbox.give(
        'puppet',
        'case $1 in config) echo /etc/puppet/csr.yaml ;; *) echo "state $FACTER_spillway_state" >>"$FAKES/calls"; exit 2 ;; esac',
        'packaged',
      ),
  },
  chef: {
    settings: {
      CHEF_SERVER_URL: 'https://chef.example/organizations/a',
      CHEF_VALIDATION_CLIENT: 'a-validator',
      CHEF_VALIDATION_KEY: 'PEM',
      CHEF_RUN_LIST: 'role[render],recipe[scratch::disk]',
      CHEF_PACKAGE_URL: 'https://mirror.example/chef.deb',
      CHEF_PACKAGE_SHA256: SHA256,
    },
    required: 'CHEF_SERVER_URL',
    wild: { settings: { CHEF_VALIDATION_KEY: lines }, file: '../pem', found: lines },
    halves: {
      drain: [chefRun('draining')],
      leave: [chefRun('leaving')],
    },
    prepare: (sandbox) => {
      sandbox.serve(DOWNLOAD);
      sandbox.give('dpkg', '[ "$1" != -i ] || cp "$FAKES"/packaged/* "$FAKES/bin/"');
      sandbox.give(
        'chef-client',
        `cat "$4" >>"$FAKES/calls"
pem=$DESTDIR/etc/spillway/chef; [ -f "$pem/client.pem" ] || { cat "$pem/validation.pem" >"$FAKES/pem"; : >"$pem/client.pem"; }`,
        'packaged',
      );
    },
  },
  ansible: {
    settings: { PULL_REPO: 'https://git.example/m.git', PULL_REF: 'main', PULL_VAULT_PASSWORD: 'pw' },
    required: 'PULL_REF',
    wild: { settings: { PULL_VARS: lines }, file: 'etc/spillway/ansible/vars.json', found: lines },
    halves: {
      drain: ['git [ls-remote] [--quiet] [https://git.example/m.git] [HEAD]', ansibleRun('draining')],
      leave: ['git [ls-remote] [--quiet] [https://git.example/m.git] [HEAD]', ansibleRun('leaving')],
    },
    prepare: (sandbox) => {
      for (const program of ['git', 'ansible-pull']) sandbox.give(program, '', 'packaged');
    },
  },
};

function puppetRun(state: string): string {
  return `puppet [agent] [--test] [--color=false] [--server] [puppet.example] [--waitforcert] [10] [--maxwaitforcert] [60]\nstate ${state}`;
}

function chefRun(state: string): string {
  const chef = 'ROOT/etc/spillway/chef';
  return (
    `chef-client [--config] [${chef}/client.rb] [--json-attributes] [${chef}/attributes.json]\n` +
    `{ "spillway": { "state": "${state}" }, "run_list": ["role[render]", "recipe[scratch::disk]"] }`
  );
}

function ansibleRun(state: string): string {
  return (
    'ansible-pull [--url] [https://git.example/m.git] [--checkout] [main] [--directory] [ROOT/var/lib/spillway/ansible] ' +
    '[--inventory] [localhost,] [--connection] [local] [--extra-vars] [@ROOT/etc/spillway/ansible/vars.json] ' +
    `[--extra-vars] [spillway_state=${state}] [--vault-password-file] [ROOT/etc/spillway/ansible/vault-password] [local.yml]`
  );
}
