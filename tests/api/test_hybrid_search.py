"""Search by meaning and words together is no worse than the better of both, also in languages the model can't read."""

from __future__ import annotations

import pytest

from tests.support.knowledge import form, ready, upload_form
from tests.support.running import Running

BASES = "/api/v1/knowledge"

# a language's texts, and a query that each of them answers
TEXTS = {
    "english": [
        ("The pump is greased every 500 hours of operation.", "How often does the pump need grease?"),
        ("Employees get thirty days of vacation a year.", "How long can staff go on holiday?"),
        ("Goods can be sent back within two weeks.", "Is it possible to return a product?"),
        ("Copies of all data are made each night.", "When do backups run?"),
        ("In case of fire leave the house by the stairs.", "What to do if there are flames?"),
        ("Cars are parked behind the hall.", "Where may I leave my vehicle?"),
    ],
    "german": [
        (
            "Die Kreiselpumpe wird alle 500 Betriebsstunden abgeschmiert.",
            "Wann muss die Kreiselpumpe geschmiert werden?",
        ),
        ("Beschäftigte haben dreißig Urlaubstage im Jahr.", "Wie viele Urlaubstage gibt es?"),
        ("Die Rückgabe der Ware ist binnen vierzehn Tagen möglich.", "Bis wann ist eine Rückgabe möglich?"),
        ("Jede Nacht werden alle Daten gesichert.", "Wann werden Daten gesichert?"),
        ("Bei Feuer ist das Haus über die Treppe zu verlassen.", "Was tun, wenn es ein Feuer gibt?"),
        ("Fahrzeuge stehen auf dem Hof hinter der Halle.", "Wo stehen die Fahrzeuge?"),
    ],
    "chinese": [
        ("水泵每运行五百小时需要加注润滑脂。", "水泵多久加润滑脂?"),
        ("员工每年享有三十天年假。", "员工有多少年假?"),
        ("商品可在两周内退货。", "多久之内可以退货?"),
        ("系统每晚备份全部数据。", "什么时候备份数据?"),
        ("发生火灾时请从楼梯离开大楼。", "火灾时怎么离开?"),
        ("车辆停放在仓库后面的停车场。", "车辆停在哪里?"),
    ],
    "japanese": [
        ("ポンプは五百時間の運転ごとに給油します。", "ポンプの給油はいつですか?"),
        ("社員には年に三十日の有給休暇があります。", "有給休暇は何日ですか?"),
        ("商品は二週間以内に返品できます。", "返品はいつまでできますか?"),
        ("毎晩すべてのデータを保存します。", "データの保存はいつですか?"),
        ("火災のときは階段で建物から出てください。", "火災のときはどうしますか?"),
        ("車は倉庫の裏に駐車します。", "車の駐車はどこですか?"),
    ],
    "korean": [
        ("펌프는 오백 시간마다 윤활유를 넣습니다.", "펌프 윤활유는 언제 넣습니까?"),
        ("직원은 일 년에 삼십 일의 연차를 받습니다.", "직원 연차는 며칠입니까?"),
        ("상품은 이 주 안에 반품할 수 있습니다.", "반품은 언제까지 됩니까?"),
        ("매일 밤 모든 자료를 백업합니다.", "백업은 언제 합니까?"),
        ("화재가 나면 계단으로 나가십시오.", "화재 때 어디로 나갑니까?"),
        ("차량은 창고 뒤에 주차합니다.", "차량 주차는 어디입니까?"),
    ],
    "thai": [
        ("ต้องอัดจาระบีปั๊มน้ำทุกห้าร้อยชั่วโมง", "อัดจาระบีปั๊มน้ำเมื่อไร"),
        ("พนักงานมีวันลาพักร้อนสามสิบวันต่อปี", "วันลาพักร้อนมีกี่วัน"),
        ("คืนสินค้าได้ภายในสองสัปดาห์", "คืนสินค้าได้เมื่อไร"),
        ("ระบบสำรองข้อมูลทุกคืน", "สำรองข้อมูลเมื่อไร"),
        ("เมื่อเกิดไฟไหม้ให้ใช้บันได", "ไฟไหม้ต้องทำอย่างไร"),
        ("จอดรถได้ที่หลังโกดัง", "จอดรถที่ไหน"),
    ],
    "arabic": [
        ("يجب تشحيم المضخة كل خمسمئة ساعة عمل.", "متى يجب تشحيم المضخة؟"),
        ("للموظفين ثلاثون يوم إجازة في السنة.", "كم يوم إجازة للموظفين؟"),
        ("يمكن إرجاع البضاعة خلال أسبوعين.", "متى يمكن إرجاع البضاعة؟"),
        ("تحفظ نسخة من البيانات كل ليلة.", "متى تحفظ البيانات؟"),
        ("عند نشوب حريق اخرج من السلالم.", "ماذا أفعل عند نشوب حريق؟"),
        ("تقف السيارات خلف المستودع.", "أين تقف السيارات؟"),
    ],
    "russian": [
        ("Насос смазывают через каждые пятьсот часов работы.", "Когда смазывают насос?"),
        ("Сотрудникам положено тридцать дней отпуска в год.", "Сколько дней отпуска у сотрудников?"),
        ("Товар можно вернуть в течение двух недель.", "Когда можно вернуть товар?"),
        ("Каждую ночь делается резервная копия данных.", "Когда делается копия данных?"),
        ("При пожаре выходите по лестнице.", "Что делать при пожаре?"),
        ("Машины стоят за складом.", "Где стоят машины?"),
    ],
    "greek": [
        ("Η αντλία λιπαίνεται κάθε πεντακόσιες ώρες.", "Πότε λιπαίνεται η αντλία;"),
        ("Οι υπάλληλοι έχουν τριάντα ημέρες άδεια τον χρόνο.", "Πόσες ημέρες άδεια έχουν οι υπάλληλοι;"),
        ("Τα προϊόντα επιστρέφονται μέσα σε δύο εβδομάδες.", "Πότε επιστρέφονται τα προϊόντα;"),
        ("Κάθε νύχτα αποθηκεύονται όλα τα δεδομένα.", "Πότε αποθηκεύονται τα δεδομένα;"),
        ("Σε πυρκαγιά βγείτε από τις σκάλες.", "Τι κάνω σε πυρκαγιά;"),
        ("Τα αυτοκίνητα σταθμεύουν πίσω από την αποθήκη.", "Πού σταθμεύουν τα αυτοκίνητα;"),
    ],
}


@pytest.fixture(scope="module")
def base(api: Running) -> str:
    path = f"{BASES}/{api.ask('POST', BASES, {'name': 'languages'}).json['id']}"
    files = [
        (f"{language} {number}.txt", text.encode(), "text/plain")
        for language, pairs in TEXTS.items()
        for number, (text, _) in enumerate(pairs)
    ]
    assert upload_form(api, f"{path}/documents", form(*files)).status == 201
    ready(api, path)
    return path


def reciprocal_ranks(api: Running, base: str, language: str, mode: str) -> float:
    """The mean of 1 / place of the text that answers."""
    total = 0.0
    for number, (_, query) in enumerate(TEXTS[language]):
        answer = api.ask("POST", f"{base}/search", {"query": query, "mode": mode, "top_k": 20})
        names = [hit["filename"] for hit in answer.json["data"]]
        wanted = f"{language} {number}.txt"
        total += 1 / (names.index(wanted) + 1) if wanted in names else 0.0
    return total / len(TEXTS[language])


@pytest.mark.parametrize("language", TEXTS)
def test_hybrid_is_no_worse_than_its_better_leg(api: Running, base: str, language: str) -> None:
    found = {mode: reciprocal_ranks(api, base, language, mode) for mode in ("hybrid", "vector", "keyword")}
    assert found["hybrid"] >= max(found["vector"], found["keyword"]), found
    assert found["hybrid"] > 0.9, found
