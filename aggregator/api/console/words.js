// Every text of the console: key -> [Chinese, English].

const WORDS = {
  title: ["能耗在线监测", "Energy monitoring"],
  skip: ["跳到正文", "Skip to content"],
  views: ["视图", "Views"],
  region: ["全域总览", "Region"],
  site: ["用能单位", "Site"],
  fleet: ["采集网关", "Fleet"],
  proof: ["平衡校核", "Proof"],
  language: ["English", "中文"],
  api: ["接口说明", "API"],
  forget: ["退出令牌", "Forget token"],
  updated: ["数据时间", "Data of"],
  beijing: ["北京时间", "Beijing time"],
  factors: ["因子集", "Factor set"],
  failed: ["刷新失败", "Not refreshed"],
  loading: ["正在读取…", "Loading …"],
  none: ["无数据", "no data"],
  empty: ["没有可显示的行", "Nothing to show"],
  csv: ["导出 CSV", "Export CSV"],
  token_title: ["需要访问令牌", "A token is needed"],
  token_text: [
    "令牌由管理员发放,只保存在本标签页,关闭即清除。",
    "Your administrator issues it. It stays in this tab and is gone when the tab closes.",
  ],
  token_label: ["令牌", "Token"],
  token_enter: ["进入", "Enter"],
  token_wrong: ["令牌无效或已过期", "This token is unknown or holds no longer"],

  measured: ["实测", "measured"],
  share: ["实测占比", "Measured"],
  today: ["今日", "Today"],
  month: ["本月", "This month"],
  power: ["当前功率", "Power now"],
  energy: ["综合能耗", "Energy"],
  co2: ["二氧化碳排放", "CO₂"],
  cost: ["外购能源费用", "Cost"],
  electricity: ["用电量", "Electricity"],
  edges_online: ["在线网关", "Edges online"],
  fresh_meters: ["15 分钟内有读数的表计", "Meters read within 15 min"],
  edges: ["网关", "Edges"],
  with_figures: ["家有数", "sites with figures"],
  sites_table: ["各单位用能", "Sites"],
  name: ["名称", "Name"],
  largest: ["按本月用能列出前", "the largest by this month’s energy:"],
  by_carrier: ["今日能耗构成", "Today by carrier"],
  by_carrier_note: ["折标煤,全部单位", "Standard coal, all sites"],
  region_load: ["各单位负荷", "Load by site"],
  region_load_note: ["近 24 小时平均功率,用电最多的几家;断开处为数据缺失", "Last 24 hours, mean power, the largest sites; a gap is missing data"],
  energy_note: ["综合能耗为当量值折标煤;实测占比指计量表应计时间中有实测数据的部分", "Energy in tce, calorific; measured: part of the meters’ time that was measured"],

  load: ["负荷曲线", "Load curve"],
  load_note: [
    "近 24 小时各统计时段的平均功率;断开处为数据缺失",
    "Last 24 hours, mean power per interval; a gap is missing data",
  ],
  load_mean: ["平均功率", "Mean power"],
  load_live: ["实时功率", "Live power"],
  time: ["时间", "Time"],
  as_table: ["以表格查看", "As a table"],
  carriers: ["分品种用能", "Carriers"],
  carrier: ["品种", "Carrier"],
  amount: ["实物量", "Amount"],
  not_counted: ["耗能工质,不计入综合能耗", "medium, outside the total"],
  held: ["待定", "Held"],
  balance: ["本月分项与平衡", "Sub-items and balance, this month"],
  node: ["分项", "Node"],
  of_carrier: ["占比", "Part"],
  unexplained: ["不明损耗", "Unexplained"],
  balance_note: ["不明损耗:上级计量有、下级计量与加工转换都没有的部分", "Unexplained: counted above, and neither below nor in a conversion"],
  whole_site: ["全单位", "Whole site"],
  verdict: ["判定", "Verdict"],
  within: ["在限值内", "within limit"],
  limit: ["限值", "limit"],
  exceeded: ["超限", "above limit"],
  unjudged: ["不判定", "not judged"],
  quality: ["数据质量", "Data quality"],
  meters: ["表计", "Meters"],
  meter: ["表计", "Meter"],
  role: ["角色", "Role"],
  channel: ["通道", "Channel"],
  last_reading: ["最新读数", "Last reading"],
  age: ["距今", "Age"],
  fine: ["今日各项均有数据,无待定量", "All of today is there and nothing is held"],
  silent: ["今日无数据的表计", "Meters without data today"],
  silent_power: ["无实时功率的表计", "Meters without live power"],
  undetermined: ["无法折算", "Not converted"],
  held_today: ["今日待定", "Held today"],
  choose_site: ["选择单位", "Site"],

  fleet_table: ["网关状态", "Edges"],
  edge: ["网关", "Edge"],
  state: ["状态", "State"],
  online: ["在线", "online"],
  offline: ["离线", "offline"],
  never: ["从未上线", "never seen"],
  meters_ok: ["表计应答", "Meters"],
  outbox: ["发件箱", "Outbox"],
  readings: ["条", "readings"],
  oldest: ["最早待传", "Oldest"],
  horizon: ["缓存余量", "Room left"],
  dropped: ["丢弃", "Dropped"],
  clock: ["时钟", "Clock"],
  synchronised: ["已校时", "in sync"],
  unsynchronised: ["未校时", "not in sync"],
  offset: ["时钟偏差", "Offset"],
  version: ["版本", "Version"],
  disk_fault: ["磁盘不可写", "disk cannot be written"],
  freshest: ["最旧的最新读数", "Stalest edge"],

  proof_table: ["逐通道校核", "Channels"],
  proof_note: [
    "表底之差 × 倍率 + 事件 = 入账 + 待定 + 差额;差额为 0 即闭合",
    "Register difference × multiplier + events = booked + held + difference; it closes at 0",
  ],
  closing_channels: ["闭合通道", "Channels that close"],
  period: ["时段", "Period"],
  since_first: ["自首个读数", "Since the first reading"],
  all_sites: ["全部单位", "All sites"],
  start: ["起始表底", "Start"],
  end: ["终止表底", "End"],
  multiplier: ["倍率", "Multiplier"],
  events: ["事件", "Events"],
  booked: ["入账", "Booked"],
  difference: ["差额", "Difference"],
  closes: ["校核", "Closes"],
  yes: ["闭合", "closes"],
  no: ["不闭合", "does not close"],
  received: ["读数时段", "Intervals with readings"],
  unit: ["单位", "Unit"],
  all_close: ["全部闭合", "all close"],
  not_all: ["有通道不闭合", "some do not close"],

  role_boundary_in: ["购入", "boundary in"],
  role_boundary_out: ["外供", "boundary out"],
  role_own_generation: ["自产", "own generation"],
  role_conversion_in: ["加工转换投入", "conversion in"],
  role_conversion_out: ["加工转换产出", "conversion out"],
  role_sub: ["分项", "sub"],
  role_check: ["校核表", "check"],
  day_s: ["天", "d"],
  hour_s: ["小时", "h"],
  minute_s: ["分", "min"],
  second_s: ["秒", "s"],
};

const LANGUAGES = ["zh", "en"];
const KEPT = "nenghao-language";

export function language() {
  const kept = localStorage.getItem(KEPT);
  return LANGUAGES.includes(kept) ? kept : "zh";
}

export function switchLanguage() {
  localStorage.setItem(KEPT, language() === "zh" ? "en" : "zh");
}

export function t(key) {
  return WORDS[key][LANGUAGES.indexOf(language())];
}

export function locale() {
  return language() === "zh" ? "zh-CN" : "en-GB";
}

export function named(row, id) {
  return (language() === "zh" ? row.name_zh : row.name_en) || id;
}

// The API names carriers in Chinese; their ids are English words.
export function carrierName(row) {
  return language() === "zh" ? row.carrier_zh : row.carrier.replaceAll("_", " ");
}
