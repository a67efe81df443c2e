"""The words of the generated corpus: in each row, forms of one thing, and after the bar what is mentioned with it."""

from __future__ import annotations

#: Country, capital, adjective | what it is known for.
COUNTRIES = """
Italy Rome Italian | pasta gondola Tiber
Germany Berlin German | sausage autobahn Rhine
France Paris French | baguette perfume Seine
Spain Madrid Spanish | flamenco paella Ebro
England London English | scones cricket Thames
Portugal Lisbon Portuguese | fado cork Tagus
Austria Vienna Austrian | waltz strudel Danube
Poland Warsaw Polish | pierogi amber Vistula
Sweden Stockholm Swedish | meatballs sauna birch
Norway Oslo Norwegian | fjord salmon reindeer
Finland Helsinki Finnish | lake rye tundra
Greece Athens Greek | olive temple feta
Turkey Ankara Turkish | kebab carpet bazaar
Egypt Cairo Egyptian | pyramid papyrus Nile
Kenya Nairobi Kenyan | safari savanna marathon
India Delhi Indian | curry sari Ganges
China Beijing Chinese | porcelain silk Yangtze
Japan Tokyo Japanese | sushi kimono volcano
Thailand Bangkok Thai | orchid mango Mekong
Vietnam Hanoi Vietnamese | noodle paddy lotus
Russia Moscow Russian | vodka ballet Volga
Peru Lima Peruvian | llama quinoa Andes
Cuba Havana Cuban | cigar rumba sugar
Canada Ottawa Canadian | maple hockey moose
"""

#: Man, woman | what they have to do with.
PEOPLE = """
king queen | throne crown
prince princess | castle ballroom
duke duchess | estate coach
emperor empress | empire dynasty
actor actress | film stage
waiter waitress | menu tray
host hostess | party guests
steward stewardess | aeroplane cabin
father mother | baby cradle
son daughter | homework allowance
brother sister | bunk sibling
uncle aunt | visit gift
grandfather grandmother | armchair memories
nephew niece | cousin zoo
husband wife | wedding ring
groom bride | altar bouquet
boy girl | playground kite
monk nun | cloister prayer
wizard witch | spell broom
hero heroine | legend dragon
"""

#: Present, past, what someone is doing | with what.
VERBS = """
walk walked walking | path boots
dance danced dancing | music ballroom
cook cooked cooking | kitchen onion
paint painted painting | brush canvas
climb climbed climbing | rope cliff
row rowed rowing | oar boat
sail sailed sailing | mast harbour
plant planted planting | seed garden
wash washed washing | soap basin
fish fished fishing | hook pond
hunt hunted hunting | deer forest
bake baked baking | oven flour
sing sang singing | choir melody
write wrote writing | letter ink
drive drove driving | car motorway
ride rode riding | horse saddle
swim swam swimming | pool beach
drink drank drinking | water glass
throw threw throwing | ball stone
draw drew drawing | pencil sketch
"""

#: Positive, comparative, superlative | of what.
ADJECTIVES = """
big bigger biggest | elephant house
hot hotter hottest | desert stove
cold colder coldest | ice winter
fast faster fastest | train cheetah
slow slower slowest | snail turtle
tall taller tallest | tower giraffe
short shorter shortest | stump dwarf
deep deeper deepest | ocean mine
high higher highest | mountain peak
long longer longest | snake rope
loud louder loudest | thunder drum
quiet quieter quietest | library whisper
bright brighter brightest | lamp star
dark darker darkest | night cellar
heavy heavier heaviest | anvil rock
light lighter lightest | feather balloon
old older oldest | ruin fossil
young younger youngest | puppy sapling
rich richer richest | banker treasure
sharp sharper sharpest | knife razor
"""

#: Country, capital | what it is known for.
COUNTRIES_ZH = """
義大利 羅馬 | 披薩 競技場
德國 柏林 | 啤酒 香腸
法國 巴黎 | 鐵塔 香水
西班牙 馬德里 | 鬥牛 火腿
英國 倫敦 | 紅茶 板球
日本 東京 | 壽司 櫻花
韓國 首爾 | 泡菜 人參
泰國 曼谷 | 大象 酸辣湯
越南 河內 | 河粉 斗笠
印度 德里 | 咖哩 紗麗
埃及 開羅 | 金字塔 木乃伊
俄羅斯 莫斯科 | 芭蕾 伏特加
希臘 雅典 | 橄欖 神廟
土耳其 安卡拉 | 地毯 烤肉
瑞典 斯德哥爾摩 | 肉丸 極光
加拿大 渥太華 | 楓糖 冰球
"""

#: Man, woman | what they have to do with.
PEOPLE_ZH = """
國王 王后 | 王位 加冕
王子 公主 | 城堡 舞會
皇帝 皇后 | 帝國 龍袍
父親 母親 | 嬰兒 搖籃
兒子 女兒 | 作業 零用錢
哥哥 姊姊 | 榜樣 書桌
弟弟 妹妹 | 玩具 糖果
叔叔 嬸嬸 | 紅包 鄉下
爺爺 奶奶 | 搖椅 往事
丈夫 妻子 | 婚姻 戒指
新郎 新娘 | 婚禮 捧花
和尚 尼姑 | 寺廟 念經
男孩 女孩 | 操場 風箏
先生 小姐 | 名片 櫃檯
"""

#: Office holder, the place where the office is | what the person has to do with.
LEADERS_ZH = """
蔡英文 臺灣 | 國會 法學
馬英九 臺灣 | 長跑 法學
"""
