import { language } from '@alcove/i18n';

/**
 * What the supervisor and the machine say in English, told in Chinese by what it is about. There is no English of it:
 * there, their own words are shown. Where these words are used, the original is kept within reach.
 */
const zh: Record<string, string> = {
  'error.bad_request.hint': '请检查所填内容后重试。',
  'error.unauthenticated.hint': '在这台电脑上运行 “alcove open” 以获取新链接。',
  'error.forbidden.hint': '请以云主机所有者的身份登录后再试。',
  'error.not_found.hint': '它可能已被删除或改名：请刷新后再看。',
  'error.conflict.hint': '请等待正在进行的操作结束，或换一个名称。',
  'error.wrong_state.hint': '请先让云主机进入所需的状态，再试一次。',
  'error.timeout.hint': '请再试一次；如果仍然如此，请查看日志。',
  'error.cancelled.hint': '如果仍然需要，请再次发起。',
  'error.machine_not_running.hint': '请先启动云主机。',
  'error.guest_unreachable.hint': '请稍候片刻；如果仍然如此，请查看串口日志。',
  'error.kubernetes_unreachable.hint': '请稍候片刻，或查看 Kubernetes 日志。',
  'error.hypervisor_missing.hint':
    '请安装 QEMU（Debian 与 Ubuntu：sudo apt install qemu-system-x86），然后重试。',
  'error.hypervisor_failed.hint': '请查看 QEMU 日志，运行 “alcove doctor”，然后重试。',
  'error.source_unreachable.hint': '请检查来源与网络，然后再次获取：会从中断处继续。',
  'error.image_invalid.hint': '请在“设置”的“关于”中重新获取镜像。',
  'error.state_invalid.hint': '请从头启动：磁盘上的数据仍在。',
  'error.file_corrupt.hint': '文件未被改动。请按原文的说明修复或移走它。',
  'error.too_new.hint': '请将 Alcove 更新到写入该文件的版本或更高版本。',
  'error.disk_full.hint': '请释放一些磁盘空间，然后重试。',
  'error.unsupported.hint': '请换用其他方式；“alcove doctor” 会说明这台电脑缺少什么。',
  'error.internal.hint': '请重试；如果再次出现，请查看 Alcove 日志。',

  'check.virtualisation': '硬件虚拟化',
  'check.virtualisation.ok': '可以使用硬件虚拟化。',
  'check.virtualisation.warn': '无法使用硬件虚拟化：云主机将以模拟方式运行，可用，但会慢几倍。',
  'check.virtualisation.warn.hint':
    '请在固件设置中启用 VT-x 或 AMD-V，并确认您有权使用 /dev/kvm。具体命令见原文。',
  'check.qemu': 'QEMU',
  'check.qemu.ok': '已找到 QEMU。',
  'check.qemu.fail': '没有找到可用的 QEMU。',
  'check.qemu.fail.hint': '请安装：sudo apt install qemu-system-x86',
  'check.memory': '内存',
  'check.memory.ok': '可用内存充足。',
  'check.memory.warn': '目前可用内存不足以运行最小的云主机。',
  'check.memory.warn.hint': '请先关闭一些程序，再启动云主机。',
  'check.memory.fail': '这台电脑的内存太少。',
  'check.memory.fail.hint': '需要一台至少有 4 GB 内存的电脑。',
  'check.processors': '处理器',
  'check.processors.ok': '处理器足够。',
  'check.processors.warn': '只有一个处理器：云主机与其他程序共用它。',
  'check.processors.warn.hint': '启动会比较慢。',
  'check.processors.fail': '不支持这种处理器：云主机只支持 x86_64。',
  'check.processors.fail.hint': '请使用配有 Intel 或 AMD 处理器的电脑。',
  'check.disk': '磁盘空间',
  'check.disk.ok': '磁盘空间充足。',
  'check.disk.warn': '磁盘空间偏少，或无法得知还剩多少。',
  'check.disk.warn.hint': '请释放一些空间，或将 XDG_DATA_HOME 设为更大磁盘上的文件夹。',
  'check.disk.fail': '数据文件夹空间不足，或无法写入。',
  'check.disk.fail.hint': '请释放一些空间，或将 XDG_DATA_HOME 设为您自己的、空间更大的文件夹。',
  'check.ports': '本机端口',
  'check.ports.ok': '可以打开本机端口。',
  'check.ports.fail': '无法在 127.0.0.1 上打开端口。',
  'check.ports.fail.hint': '请启用回环接口（sudo ip link set lo up），或在防火墙中放行。',
  'check.time': '时钟',
  'check.time.ok': '时钟正常。',
  'check.time.warn': '时钟未通过网络校准。',
  'check.time.warn.hint': '请校准时钟，或运行 sudo timedatectl set-ntp true。',
  'check.time.fail': '时钟落后了数年：现在签发的证书将无效。',
  'check.time.fail.hint': '请校准时钟，或运行 sudo timedatectl set-ntp true。',
  'check.secrets': '密钥',
  'check.secrets.ok': '云主机的密钥已妥善保存。',
  'check.secrets.warn': '暂时无法读取云主机的密钥。',
  'check.secrets.warn.hint': '请解锁系统钥匙串，然后重新检查。',

  'condition.DoorOpen.False.hint': '如果持续如此，请查看串口日志，或重启云主机。',
  'condition.KubernetesReady.False.hint': '启动步骤会显示进度；详情见 Kubernetes 日志。',
  'condition.KubernetesReady.Unknown.hint': '请稍候片刻；详情见 Kubernetes 日志。',
  'condition.PlatformReady.False.hint': '请在控制中心查看命名空间 alcove-system 中的 Pod。',
  'condition.ClockInSync.False.hint': '请重启云主机。',
  'condition.DiskHealthy.False.hint':
    '请删除不需要的内容，或在设置中增大磁盘；如有磁盘错误，请制作快照并检查这台电脑的磁盘。',
  'condition.MemoryHealthy.False.hint': '请在设置中为云主机分配更多内存，或停止一个应用。',
  'condition.LastSuspendWorked.False.hint': '原因见原文；排除后可再次挂起。',
  'condition.LastBootClean.False.hint': '已保存的内容仍在。串口日志中有它最后的输出。',
  'condition.HostDiskHasSpace.False.hint': '请释放一些空间，云主机随后会自动继续。',
  'condition.SystemUp.False.hint': '请在串口控制台中操作；重启云主机后系统会恢复。',
  'condition.HostDiskWorks.False.hint': '请检查所在磁盘是否有错误或配额限制；云主机会反复尝试继续。',
  'condition.KeysReadable.False.hint': '如果系统钥匙串已锁定，请解锁：之后会自动恢复连接；否则见原文。',
  'condition.DiskHasItsSize.False.hint': '会自动重试；重启云主机时也会再试。',
};

/** What is said, in the page's language; empty where its own words are to be shown, or where there are no others. */
export const told = (key: string): string =>
  language() === 'zh' && Object.hasOwn(zh, key) ? (zh[key] ?? '') : '';

/** Whether the page speaks another language than the supervisor and the machine. */
export const foreign = (): boolean => language() !== 'en';

/** What is told, for the test that holds it against what is said. */
export const catalogue = zh;
